-- The exponentials of a head, by which its context multiplies V: written slice by slice, read for all lanes at once.
--
-- So every slice of lanes has a memory of its own.
--
-- Twin:    tests/hdl/entity_twins.py, exponential_store.
-- Clocks:  read_data follows read_address by one; a word written at an edge is read by an address after that edge.
-- Widths:  read_data holds the slices from bit 0 on, each with the `width` bits that softmax writes.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity exponential_store is
  generic (
    slices : positive range 1 to 256; -- groups of lanes whose exponentials arrive together
    width : positive; -- bits of a slice
    depth : positive; -- words: a key of a group of tokens each
    memory_type : string := "auto" -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;

    write_valid : in std_ulogic;
    write_slice : in natural range 0 to larger(slices, 2) - 1;
    write_address : in unsigned(address_bits(depth) - 1 downto 0);
    write_data : in std_ulogic_vector(width - 1 downto 0);

    read_address : in unsigned(address_bits(depth) - 1 downto 0);
    read_data : out std_ulogic_vector(slices * width - 1 downto 0)
  );
end entity;

architecture rtl of exponential_store is
begin

  each : for s in 0 to slices - 1 generate
    signal write_this : std_ulogic;
  begin
    write_this <= write_valid when write_slice = s else '0';

    slice : entity work.ram
      generic map (width => width, depth => depth, memory_type => memory_type)
      port map (
        clk => clk,
        write_valid => write_this,
        write_address => write_address,
        write_data => write_data,
        read_address => read_address,
        read_data => read_data((s + 1) * width - 1 downto s * width)
      );
  end generate;

end architecture;
