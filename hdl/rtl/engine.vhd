-- The accelerator: a quantised Transformer encoder on lanes of tokens. It only wires the entities; each does one thing.
--
--   load -> inputs ----------\                             /-> activation_stores
--           activation_stores --> operand_select -> lanes -> retire -> row_statistics
--           row_statistics --/                          ^  \-> unload
--           weights, head --/    parameters, positions -/
--
-- `issue` walks the program for the operands: operand_addresses hands their addresses to the stores. `retire` walks it
-- for the sums.
--
-- Twin:    qtlib.program.reference.run, equal bit for bit (tests/hdl/test_engine.py).
-- Clocks:  qtlib.hardware.engine_schedule.Schedule.latency, exact and independent of the data.
-- Widths:  qtlib.hardware.operand_widths proves each from the program; here they are trusted.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity engine is
  generic (
    window : positive range 1 to 256; -- tokens
    features : positive range 1 to 256; -- codes of a token at the input
    outputs : positive range 1 to 256; -- results of a window
    lane_count : positive range 1 to 256; -- tokens at once
    unroll : positive range 1 to 256; -- output features at once; divides lane_count
    requantisers : positive range 1 to 256; -- sums retired per clock; divides lane_count
    operands : positive range 1 to 256; -- lanes on one multiplier
    dsp_macs : natural; -- multipliers in DSP blocks; the others are made of LUTs
    issue_program : issue_program_t; -- the operations as the issuing side sees them
    retire_program : retire_program_t; -- the same, as the retiring side does
    input_bits : positive range 2 to 32; -- of a code in the input store
    activation_bits : positive range 2 to 32; -- of a code in the activation store
    broadcast_bits : positive range 2 to 32; -- of a code in the broadcast store
    key_bits : positive range 2 to 32; -- widest code of K and V
    score_bits : positive range 2 to 32; -- of a score
    exponential_bits : positive range 2 to 32; -- of an exponential, unsigned
    total_bits : positive range 2 to 32; -- of a sum of exponentials
    position_bits : positive range 2 to 32; -- of a code of the position table
    weight_bits : positive range 2 to 32; -- of the widest weight
    head_bits : positive range 2 to 32; -- of a weight of the head
    x_bits : positive range 2 to 32; -- of a lane operand
    w_bits : positive range 2 to 32; -- of a broadcast operand
    product_bits : positive range 2 to 64; -- of a product, signed
    packed_bits : positive range 2 to 64; -- of the operands of one multiplier, packed
    acc_bits : positive range 2 to 64; -- of a sum of products, signed
    mult_bits : positive range 2 to 32; -- of a parameter's multiplier
    residual_mult_bits : positive range 2 to 32; -- of the multiplier of a residual, signed
    offset_bits : positive range 2 to 64; -- of an offset, signed
    sum_bits : positive range 2 to 64; -- of a scaled sum with residual and offset
    result_bits : positive range 2 to 32; -- of a result of the head, signed
    norm_features : natural; -- of a LayerNorm; 0: the program has none
    norm_bits : positive range 2 to 32; -- of the codes that it reads
    norm_reciprocal_bits : positive range 2 to 16; -- of the limit of its roots
    shifts : integer_vector; -- distinct shifts of the program
    residual_shifts : integer_vector; -- distinct shifts of residuals
    widths : integer_vector; -- distinct widths of codes that retire
    activation_depth : positive; -- words of a bank of the activation store
    broadcast_depth : positive; -- words of a bank of the broadcast store
    weight_word_bits : positive; -- of a memory word
    packing_bits : integer_vector; -- bits of a weight in each way in which a memory word holds weights
    packing_weights : integer_vector; -- and how many it holds
    weight_segments : integer_vector; -- memory words of each segment
    block_segments : natural; -- the first segments, which are block RAM
    address_width : positive range 1 to 32; -- bits of an address in the programs
    count_width : positive range 1 to 32; -- bits of the counters of terms, clocks and steps
    weights : words_t; -- contents of the constant stores: of weight_word_bits
    head_weights : words_t; -- unroll weights of head_bits
    parameters : words_t; -- multiplier, residual multiplier, offset
    positions : words_t; -- of all lanes
    exponentials : words_t; -- tables by difference to the maximum, one after the other
    input_memory : string; -- auto | block | distributed
    activation_memory : string; -- auto | block | distributed
    broadcast_memory : string; -- auto | block | distributed
    exponential_memory : string; -- auto | block | distributed
    reciprocal_memory : string; -- auto | block | distributed
    score_memory : string; -- auto | block | distributed
    weight_memory : string; -- auto | block | distributed
    head_memory : string; -- auto | block | distributed
    parameter_memory : string; -- auto | block | distributed
    position_memory : string; -- auto | block | distributed
    table_memory : string -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic; -- synchronous, active high

    in_ready : out std_ulogic;
    in_valid : in std_ulogic;
    in_data : in std_ulogic_vector(input_bits - 1 downto 0);

    out_ready : in std_ulogic;
    out_valid : out std_ulogic;
    out_data : out std_ulogic_vector(result_bits - 1 downto 0)
  );
end entity;

architecture rtl of engine is

  constant groups : positive := (window + lane_count - 1) / lane_count;
  constant slices : positive := lane_count / requantisers;
  constant padded_keys : positive := (window + unroll - 1) / unroll * unroll;
  constant padded_outputs : positive := (outputs + unroll - 1) / unroll * unroll;
  constant input_depth : positive := features * groups;
  constant parameter_bits : positive := mult_bits + residual_mult_bits + offset_bits;
  -- Of the output's place: as many as keys, or features where a LayerNorm needs the first of them.
  constant key_width : positive := address_bits(larger(padded_keys, (norm_features + unroll - 1) / unroll * unroll));
  constant slice_width : positive := address_bits(slices * groups);
  constant output_width : positive := address_bits(padded_outputs);

  subtype address_t is unsigned(address_width - 1 downto 0);
  -- Two values at least, here and in the ports of other entities: Verilog has no port of no bits.
  subtype bank_t is natural range 0 to larger(unroll, 2) - 1;

  -- Behind load and issue.
  signal load_valid, full, take, free, valid, first, last, diagonal : std_ulogic;
  signal load_address : unsigned(address_bits(input_depth) - 1 downto 0);
  signal load_data : std_ulogic_vector(lane_count * input_bits - 1 downto 0);
  signal x_source : x_source_t;
  signal w_source : w_source_t;
  signal x_address, w_address : address_t;
  signal x_bank : bank_t;
  signal w_place : natural range 0 to larger(largest(packing_weights), 2) - 1;
  signal w_packing : natural range 0 to larger(packing_bits'length, 2) - 1;
  signal w_lane : natural range 0 to larger(lane_count, 2) - 1;

  -- To and from the stores.
  signal input_address : unsigned(address_bits(input_depth) - 1 downto 0);
  signal activation_address : unsigned(address_bits(activation_depth) - 1 downto 0);
  signal exponential_address : unsigned(address_bits(window * groups) - 1 downto 0);
  signal weight_address : unsigned(address_bits(weights'length) - 1 downto 0);
  signal head_address : unsigned(address_bits(head_weights'length) - 1 downto 0);
  signal broadcast_address : unsigned(address_bits(broadcast_depth) - 1 downto 0);
  signal input_word : std_ulogic_vector(lane_count * input_bits - 1 downto 0);
  signal activation_words : std_ulogic_vector(unroll * lane_count * activation_bits - 1 downto 0);
  signal broadcast_words : std_ulogic_vector(unroll * lane_count * broadcast_bits - 1 downto 0);
  signal exponential_word : std_ulogic_vector(lane_count * exponential_bits - 1 downto 0);
  signal weight_word : std_ulogic_vector(unroll * weight_bits - 1 downto 0);
  signal head_word : std_ulogic_vector(unroll * head_bits - 1 downto 0);

  -- Around the multipliers.
  signal operand_valid, operand_first, operand_last, captured, advance : std_ulogic;
  signal x : std_ulogic_vector(lane_count * x_bits - 1 downto 0);
  signal w : std_ulogic_vector(unroll * w_bits - 1 downto 0);
  signal front : std_ulogic_vector(requantisers * acc_bits - 1 downto 0);

  -- What retire reads.
  signal stream_valid : std_ulogic;
  signal parameter_address, stream_address, position_address : address_t;
  signal reciprocal_address : unsigned(slice_width - 1 downto 0);
  signal parameter_data : std_ulogic_vector(parameter_bits - 1 downto 0);
  signal position_data : std_ulogic_vector(lane_count * position_bits - 1 downto 0);
  signal reciprocal_data : std_ulogic_vector(requantisers * 17 - 1 downto 0);

  -- And what it writes.
  signal activation_valid, broadcast_valid, result_valid, result_last : std_ulogic;
  signal score_valid, score_last, sum_valid, sum_last : std_ulogic;
  signal activation_write, broadcast_write : address_t;
  signal activation_data : std_ulogic_vector(lane_count * activation_bits - 1 downto 0);
  signal broadcast_data : std_ulogic_vector(lane_count * broadcast_bits - 1 downto 0);
  signal write_bank : bank_t;
  signal score_table : count_t;
  signal score_key : unsigned(key_width - 1 downto 0);
  signal score_slice : unsigned(slice_width - 1 downto 0);
  signal score_data : std_ulogic_vector(requantisers * score_bits - 1 downto 0);
  signal sum_data : std_ulogic_vector(requantisers * norm_bits - 1 downto 0);
  signal result_address : unsigned(output_width - 1 downto 0);
  signal result_data : std_ulogic_vector(result_bits - 1 downto 0);

begin

  load : entity work.load
    generic map (window => window, features => features, lanes => lane_count, bits => input_bits)
    port map (
      clk => clk, rst => rst, in_ready => in_ready, in_valid => in_valid, in_data => in_data,
      write_valid => load_valid, write_address => load_address, write_data => load_data, full => full, take => take
    );

  issue : entity work.issue
    generic map (
      program => issue_program, window => window, lanes => lane_count, unroll => unroll,
      places => largest(packing_weights), packings => packing_bits'length,
      address_width => address_width, count_width => count_width
    )
    port map (
      clk => clk, rst => rst, full => full, take => take, free => free, valid => valid, first => first, last => last,
      x_source => x_source, x_address => x_address, x_bank => x_bank, w_source => w_source, w_address => w_address,
      w_place => w_place, w_packing => w_packing, w_lane => w_lane, diagonal => diagonal
    );

  operand_addresses : entity work.operand_addresses
    generic map (
      address_width => address_width, input_depth => input_depth, activation_depth => activation_depth,
      exponential_depth => window * groups, weight_depth => weights'length, head_depth => head_weights'length,
      broadcast_depth => broadcast_depth
    )
    port map (
      valid => valid, x_source => x_source, x_address => x_address, w_source => w_source, w_address => w_address,
      stream_valid => stream_valid, stream_address => stream_address,
      input_address => input_address, activation_address => activation_address,
      exponential_address => exponential_address, weight_address => weight_address,
      head_address => head_address, broadcast_address => broadcast_address
    );

  inputs : entity work.ram
    generic map (width => lane_count * input_bits, depth => input_depth, memory_type => input_memory)
    port map (clk, load_valid, load_address, load_data, input_address, input_word);

  activation_stores : entity work.activation_stores
    generic map (
      lane_count => lane_count, unroll => unroll,
      activation_bits => activation_bits, activation_depth => activation_depth, activation_memory => activation_memory,
      broadcast_bits => broadcast_bits, broadcast_depth => broadcast_depth, broadcast_memory => broadcast_memory
    )
    port map (
      clk => clk, write_bank => write_bank,
      activation_valid => activation_valid, activation_data => activation_data,
      activation_write => activation_write(address_bits(activation_depth) - 1 downto 0),
      broadcast_valid => broadcast_valid, broadcast_data => broadcast_data,
      broadcast_write => broadcast_write(address_bits(broadcast_depth) - 1 downto 0),
      activation_address => activation_address, activation_words => activation_words,
      broadcast_address => broadcast_address, broadcast_words => broadcast_words
    );

  weight_store : entity work.weight_store
    generic map (
      unroll => unroll, weight_bits => weight_bits, word_bits => weight_word_bits, packing_bits => packing_bits,
      packing_weights => packing_weights, depth => weights'length, contents => weights,
      segment_depths => weight_segments, block_segments => block_segments, memory_type => weight_memory
    )
    port map (clk, weight_address, w_place, w_packing, weight_word);

  head_store : entity work.rom
    generic map (
      width => unroll * head_bits, depth => head_weights'length, contents => head_weights, memory_type => head_memory
    )
    port map (clk, head_address, head_word);

  operand_select : entity work.operand_select
    generic map (
      lane_count => lane_count, unroll => unroll, input_bits => input_bits, activation_bits => activation_bits,
      exponential_bits => exponential_bits, broadcast_bits => broadcast_bits, key_bits => key_bits,
      weight_bits => weight_bits, head_bits => head_bits, x_bits => x_bits, w_bits => w_bits,
      norm_features => norm_features
    )
    port map (
      clk => clk, rst => rst, in_valid => valid, in_first => first, in_last => last,
      x_source => x_source, x_bank => x_bank, w_source => w_source, w_lane => w_lane, diagonal => diagonal,
      input_word => input_word, activation_words => activation_words, exponential_word => exponential_word,
      weight_word => weight_word, head_word => head_word, broadcast_words => broadcast_words,
      out_valid => operand_valid, out_first => operand_first, out_last => operand_last, x => x, w => w
    );

  multipliers : entity work.lanes
    generic map (
      lane_count => lane_count, unroll => unroll, requantisers => requantisers, operands => operands,
      dsp_macs => dsp_macs, x_bits => x_bits, w_bits => w_bits, product_bits => product_bits,
      packed_bits => packed_bits, acc_bits => acc_bits
    )
    port map (
      clk => clk, rst => rst, valid => operand_valid, first => operand_first, last => operand_last, x => x, w => w,
      captured => captured, advance => advance, front => front
    );

  parameter_store : entity work.rom
    generic map (
      width => parameter_bits, depth => parameters'length, contents => parameters, memory_type => parameter_memory
    )
    port map (clk, parameter_address(address_bits(parameters'length) - 1 downto 0), parameter_data);

  position_store : entity work.rom
    generic map (
      width => lane_count * position_bits, depth => positions'length, contents => positions,
      memory_type => position_memory
    )
    port map (clk, position_address(address_bits(positions'length) - 1 downto 0), position_data);

  retire : entity work.retire
    generic map (
      program => retire_program, window => window, lanes => lane_count, unroll => unroll,
      requantisers => requantisers, acc_bits => acc_bits, mult_bits => mult_bits,
      residual_mult_bits => residual_mult_bits, offset_bits => offset_bits, sum_bits => sum_bits,
      result_bits => result_bits, activation_bits => activation_bits, broadcast_bits => broadcast_bits,
      position_bits => position_bits, score_bits => score_bits, norm_bits => norm_bits,
      shifts => shifts, residual_shifts => residual_shifts, widths => widths, address_width => address_width,
      count_width => count_width, key_width => key_width, slice_width => slice_width, output_width => output_width
    )
    port map (
      clk => clk, rst => rst, captured => captured, advance => advance, front => front,
      parameter_address => parameter_address, parameter_data => parameter_data,
      stream_valid => stream_valid, stream_address => stream_address, stream_data => broadcast_words,
      position_address => position_address, position_data => position_data,
      reciprocal_address => reciprocal_address, reciprocal_data => reciprocal_data,
      activation_valid => activation_valid, activation_address => activation_write, activation_data => activation_data,
      broadcast_valid => broadcast_valid, broadcast_address => broadcast_write, broadcast_data => broadcast_data,
      write_bank => write_bank, score_valid => score_valid, score_last => score_last, score_table => score_table,
      score_key => score_key, score_slice => score_slice, score_data => score_data,
      sum_valid => sum_valid, sum_last => sum_last, sum_data => sum_data,
      result_valid => result_valid, result_last => result_last,
      result_address => result_address, result_data => result_data
    );

  row_statistics : entity work.row_statistics
    generic map (
      keys => window, padded_keys => padded_keys, groups => groups, parts => slices, width => requantisers,
      key_width => key_width, score_bits => score_bits, exponential_bits => exponential_bits, total_bits => total_bits,
      exponentials => exponentials, norm_features => norm_features, norm_bits => norm_bits,
      norm_reciprocal_bits => norm_reciprocal_bits, exponential_memory => exponential_memory,
      reciprocal_memory => reciprocal_memory, score_memory => score_memory, table_memory => table_memory
    )
    port map (
      clk => clk, rst => rst, score_key => score_key, score_slice => score_slice,
      score_valid => score_valid, score_last => score_last, score_table => score_table, score_data => score_data,
      sum_valid => sum_valid, sum_last => sum_last, sum_data => sum_data,
      exponential_address => exponential_address, exponential_word => exponential_word,
      reciprocal_address => reciprocal_address, reciprocal_data => reciprocal_data
    );

  unload : entity work.unload
    generic map (outputs => outputs, padded_outputs => padded_outputs, bits => result_bits)
    port map (
      clk => clk, rst => rst, write_valid => result_valid, write_address => result_address, write_data => result_data,
      write_last => result_last, free => free, out_ready => out_ready, out_valid => out_valid, out_data => out_data
    );

end architecture;
