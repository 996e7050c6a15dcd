-- Constant memory.
--
-- Twin:    tests/hdl/entity_twins.py, rom.
-- Clocks:  read_data follows read_address by one.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity rom is
  generic (
    width : positive; -- bits of a word
    depth : positive; -- words
    contents : words_t; -- (depth - 1 downto 0)(width - 1 downto 0)
    memory_type : string := "auto" -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;
    read_address : in unsigned(address_bits(depth) - 1 downto 0);
    read_data : out std_ulogic_vector(width - 1 downto 0)
  );
end entity;

architecture rtl of rom is

  constant memory : words_t(contents'length - 1 downto 0)(width - 1 downto 0) := contents;

  attribute rom_style : string;
  attribute rom_style of memory : constant is memory_type;

begin

  assert memory_type = "auto" or memory_type = "block" or memory_type = "distributed"
    report "rom: memory_type """ & memory_type & """ is not one of auto, block, distributed"
    severity failure;

  -- One word needs no address, and GHDL 2.0 cannot translate one of no bits.
  single : if depth = 1 generate
    read_data <= memory(0) when rising_edge(clk);
  end generate;

  several : if depth > 1 generate
    process (clk)
    begin
      if rising_edge(clk) then
        read_data <= memory(to_integer(read_address));
      end if;
    end process;
  end generate;

end architecture;
