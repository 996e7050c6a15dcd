-- A reciprocal for each token, by which its sums are multiplied as they retire: of a sum of exponentials, or of a root.
--
-- Softmax and LayerNorm never write at once: the codes that start one retire behind the operation that has waited for
-- all reciprocals of the other.
--
-- Twin:    tests/hdl/entity_twins.py, reciprocal_store.
-- Clocks:  read_data follows read_address by one; a word written at an edge is read by an address after that edge.
-- Widths:  17 bits for a reciprocal (qtlib.program.rounding.reciprocal).

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity reciprocal_store is
  generic (
    width : positive range 1 to 256; -- tokens of a slice
    slices : positive range 1 to 256; -- of all tokens
    normed : boolean; -- there is a LayerNorm; without, its inputs are not looked at
    memory_type : string := "auto" -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;

    softmax_valid : in std_ulogic;
    softmax_slice : in unsigned(address_bits(slices) - 1 downto 0);
    softmax_data : in std_ulogic_vector(width * 17 - 1 downto 0);

    norm_valid : in std_ulogic;
    norm_slice : in unsigned(address_bits(slices) - 1 downto 0);
    norm_data : in std_ulogic_vector(width * 17 - 1 downto 0);

    read_address : in unsigned(address_bits(slices) - 1 downto 0);
    read_data : out std_ulogic_vector(width * 17 - 1 downto 0)
  );
end entity;

architecture rtl of reciprocal_store is

  signal write_valid : std_ulogic;
  signal write_slice : unsigned(address_bits(slices) - 1 downto 0);
  signal write_data : std_ulogic_vector(width * 17 - 1 downto 0);

begin

  two_writers : if normed generate
    write_valid <= softmax_valid or norm_valid;
    write_slice <= norm_slice when norm_valid = '1' else softmax_slice;
    write_data <= norm_data when norm_valid = '1' else softmax_data;
  end generate;

  one_writer : if not normed generate
    write_valid <= softmax_valid;
    write_slice <= softmax_slice;
    write_data <= softmax_data;
  end generate;

  reciprocals : entity work.ram
    generic map (width => width * 17, depth => 2 ** address_bits(slices), memory_type => memory_type)
    port map (clk, write_valid, write_slice, write_data, read_address, read_data);

end architecture;
