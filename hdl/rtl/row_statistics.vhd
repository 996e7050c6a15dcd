-- What is known of a token only with its whole row: exponentials, the reciprocal of their sum, that of a root.
--
--   scores --> softmax ----+--> exponential_store --> lane operands
--                          v
--   sums ----> layer_norm ---> reciprocal_store ----> retire
--
-- Twin:    tests/hdl/entity_twins.py, row_statistics.
-- Clocks:  key j of slice s is readable s * larger(keys, 18) + j + 6 clocks after `score_last`, the reciprocals of a
--          softmax 20 clocks after the last exponential of their slice is written; those of a LayerNorm, for the first
--          slice, qtlib.hardware.pipeline.root_clocks after `sum_last`, for each further one 18 later.
-- Widths:  a reciprocal has 17 bits; total_bits are proven from the window (qtlib.hardware.operand_widths).

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity row_statistics is
  generic (
    keys : positive range 1 to 256; -- scores of a row
    padded_keys : positive; -- keys that may be written; the surplus counts for nothing
    groups : positive range 1 to 256; -- of tokens
    parts : positive range 1 to 256; -- slices of a group
    width : positive range 1 to 256; -- rows of a slice
    key_width : positive range 1 to 32; -- bits of score_key
    score_bits : positive range 2 to 32; -- of a score
    exponential_bits : positive range 2 to 32; -- of an exponential, unsigned
    total_bits : positive range 2 to 32; -- of a sum of exponentials
    exponentials : words_t; -- tables of 2 ** score_bits words by difference to the maximum, one after the other
    norm_features : natural; -- of a LayerNorm; 0: the program has none
    norm_bits : positive range 2 to 32; -- of the codes that it reads
    norm_reciprocal_bits : positive range 2 to 16; -- of the limit of its roots
    exponential_memory : string := "auto"; -- auto | block | distributed
    reciprocal_memory : string := "auto"; -- auto | block | distributed
    score_memory : string := "auto"; -- auto | block | distributed
    table_memory : string := "auto" -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    score_key : in unsigned(key_width - 1 downto 0); -- of a score; of a sum, its feature
    score_slice : in unsigned(address_bits(groups * parts) - 1 downto 0);

    score_valid : in std_ulogic;
    score_last : in std_ulogic; -- with the last scores of a head
    score_table : in count_t; -- of exponentials
    score_data : in std_ulogic_vector(width * score_bits - 1 downto 0);

    sum_valid : in std_ulogic;
    sum_last : in std_ulogic; -- with the last codes that a LayerNorm reads
    sum_data : in std_ulogic_vector(width * norm_bits - 1 downto 0);

    exponential_address : in unsigned(address_bits(keys * groups) - 1 downto 0); -- key * groups + group
    exponential_word : out std_ulogic_vector(parts * width * exponential_bits - 1 downto 0);

    reciprocal_address : in unsigned(address_bits(groups * parts) - 1 downto 0);
    reciprocal_data : out std_ulogic_vector(width * 17 - 1 downto 0)
  );
end entity;

architecture rtl of row_statistics is

  subtype slice_t is unsigned(address_bits(groups * parts) - 1 downto 0);
  subtype reciprocals_t is std_ulogic_vector(width * 17 - 1 downto 0);

  signal exponential_valid, softmax_valid, norm_valid : std_ulogic;
  signal exponential_part : natural range 0 to larger(parts, 2) - 1;
  signal exponential_write : unsigned(address_bits(keys * groups) - 1 downto 0);
  signal exponential_data : std_ulogic_vector(width * exponential_bits - 1 downto 0);
  signal softmax_slice, norm_slice : slice_t;
  signal softmax_data, norm_data : reciprocals_t;

begin

  softmax : entity work.softmax
    generic map (
      keys => keys,
      padded_keys => padded_keys,
      groups => groups,
      parts => parts,
      width => width,
      score_bits => score_bits,
      exponential_bits => exponential_bits,
      total_bits => total_bits,
      table_count => exponentials'length / 2 ** score_bits,
      tables => exponentials,
      score_memory => score_memory,
      table_memory => table_memory
    )
    port map (
      clk => clk,
      rst => rst,
      score_valid => score_valid,
      score_key => score_key(address_bits(padded_keys) - 1 downto 0),
      score_slice => score_slice,
      score_data => score_data,
      start => score_last,
      start_table => score_table,
      exponential_valid => exponential_valid,
      exponential_address => exponential_write,
      exponential_part => exponential_part,
      exponential_data => exponential_data,
      reciprocal_valid => softmax_valid,
      reciprocal_slice => softmax_slice,
      reciprocal_data => softmax_data
    );

  norm : if norm_features > 0 generate
    signal sum_first : std_ulogic;
  begin
    sum_first <= '1' when score_key = 0 else '0';

    layer_norm : entity work.layer_norm
      generic map (
        features => norm_features,
        slices => groups * parts,
        width => width,
        bits => norm_bits,
        reciprocal_bits => norm_reciprocal_bits,
        table_memory => table_memory
      )
      port map (
        clk => clk,
        rst => rst,
        sum_valid => sum_valid,
        sum_first => sum_first,
        sum_slice => score_slice,
        sum_data => sum_data,
        start => sum_last,
        reciprocal_valid => norm_valid,
        reciprocal_slice => norm_slice,
        reciprocal_data => norm_data
      );
  end generate;

  no_norm : if norm_features = 0 generate
    norm_valid <= '0';
    norm_slice <= (others => '0');
    norm_data <= (others => '0');
  end generate;

  exponential_store : entity work.exponential_store
    generic map (
      slices => parts,
      width => width * exponential_bits,
      depth => keys * groups,
      memory_type => exponential_memory
    )
    port map (
      clk => clk,
      write_valid => exponential_valid,
      write_slice => exponential_part,
      write_address => exponential_write,
      write_data => exponential_data,
      read_address => exponential_address,
      read_data => exponential_word
    );

  reciprocal_store : entity work.reciprocal_store
    generic map (
      width => width,
      slices => groups * parts,
      normed => norm_features > 0,
      memory_type => reciprocal_memory
    )
    port map (
      clk => clk,
      softmax_valid => softmax_valid,
      softmax_slice => softmax_slice,
      softmax_data => softmax_data,
      norm_valid => norm_valid,
      norm_slice => norm_slice,
      norm_data => norm_data,
      read_address => reciprocal_address,
      read_data => reciprocal_data
    );

end architecture;
