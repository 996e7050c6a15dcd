-- Memory with one write and one read port.
--
-- Twin:    tests/hdl/entity_twins.py, ram.
-- Clocks:  read_data follows read_address by one; a word written at an edge is read by an address after that edge.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity ram is
  generic (
    width : positive; -- bits of a word
    depth : positive; -- words
    memory_type : string := "auto" -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;

    write_valid : in std_ulogic;
    write_address : in unsigned(address_bits(depth) - 1 downto 0);
    write_data : in std_ulogic_vector(width - 1 downto 0);

    read_address : in unsigned(address_bits(depth) - 1 downto 0);
    read_data : out std_ulogic_vector(width - 1 downto 0)
  );
end entity;

architecture rtl of ram is

begin

  assert memory_type = "auto" or memory_type = "block" or memory_type = "distributed"
    report "ram: memory_type """ & memory_type & """ is not one of auto, block, distributed"
    severity failure;

  -- One word is a register: a memory of depth 1 stops the synthesis of GHDL 2.0.
  single : if depth = 1 generate
    signal word : std_ulogic_vector(width - 1 downto 0);
  begin
    process (clk)
    begin
      if rising_edge(clk) then
        if write_valid = '1' then
          word <= write_data;
        end if;
        read_data <= word;
      end if;
    end process;
  end generate;

  several : if depth > 1 generate
    type memory_t is array (depth - 1 downto 0) of std_ulogic_vector(width - 1 downto 0);
    signal memory : memory_t;

    attribute ram_style : string;
    attribute ram_style of memory : signal is memory_type;
  begin
    process (clk)
    begin
      if rising_edge(clk) then
        if write_valid = '1' then
          memory(to_integer(write_address)) <= write_data;
        end if;
        read_data <= memory(to_integer(read_address));
      end if;
    end process;
  end generate;

end architecture;
