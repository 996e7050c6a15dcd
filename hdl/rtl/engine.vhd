-- The accelerator: a quantised Transformer encoder on lanes of tokens.
--
--   load -> input store ----------\                      /-> activation stores (lane operands)
--           activation stores ------> lanes -> retire ----> broadcast stores (K, V, residual stream)
--           exponential store ----/     ^                \-> softmax -> exponential store, reciprocal store
--           weights, broadcast stores --/                 |-> layer_norm -> reciprocal store
--                                                         \-> unload
--
-- Twin:    qtlib.integer.run, equal bit for bit (tests/test_hdl_engine.py).
-- Clocks:  qtlib.schedule.Schedule.latency, exact and independent of the data.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity engine is
  generic (
    window : positive;
    features : positive;
    outputs : positive;
    lane_count : positive;
    unroll : positive;
    requantisers : positive;
    operands : positive; -- lanes on one multiplier
    dsp_macs : natural;
    issue_program : issue_program_t;
    retire_program : retire_program_t;
    input_bits : positive;
    activation_bits : positive;
    broadcast_bits : positive;
    key_bits : positive; -- widest code of K and V
    score_bits : positive;
    exponential_bits : positive;
    total_bits : positive;
    position_bits : positive;
    weight_bits : positive;
    head_bits : positive;
    x_bits : positive;
    w_bits : positive;
    product_bits : positive;
    packed_bits : positive; -- of the operands of one multiplier, packed
    acc_bits : positive;
    mult_bits : positive;
    residual_mult_bits : positive;
    offset_bits : positive;
    sum_bits : positive;
    result_bits : positive;
    norm_features : natural; -- of a LayerNorm; 0: the program has none
    norm_bits : positive;
    norm_reciprocal_bits : positive;
    shifts : integer_vector;
    residual_shifts : integer_vector;
    widths : integer_vector;
    activation_depth : positive;
    broadcast_depth : positive;
    weight_word_bits : positive; -- of a memory word
    packing_bits : integer_vector; -- bits of a weight in each way in which a memory word holds weights
    packing_weights : integer_vector; -- and how many it holds
    weight_segments : integer_vector; -- memory words of each segment
    block_segments : natural;
    address_width : positive;
    count_width : positive;
    weights : words_t;
    head_weights : words_t;
    parameters : words_t;
    positions : words_t;
    exponentials : words_t;
    input_memory : string;
    activation_memory : string;
    broadcast_memory : string;
    exponential_memory : string;
    reciprocal_memory : string;
    score_memory : string;
    weight_memory : string;
    head_memory : string;
    parameter_memory : string;
    position_memory : string;
    table_memory : string
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

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
  -- Of the output's place: as many as keys, or features where a LayerNorm needs the first of them.
  constant key_width : positive := address_bits(larger(padded_keys, (norm_features + unroll - 1) / unroll * unroll));

  subtype address_t is unsigned(address_width - 1 downto 0);
  -- Two values at least, here and in the ports of other entities: Verilog has no port of no bits.
  subtype bank_t is natural range 0 to larger(unroll, 2) - 1;
  subtype lane_t is natural range 0 to larger(lane_count, 2) - 1;

  signal load_valid, full, take, free : std_ulogic;
  signal load_address : unsigned(address_bits(input_depth) - 1 downto 0);
  signal load_data, input_word, input_word_2 : std_ulogic_vector(lane_count * input_bits - 1 downto 0);

  signal valid, first, last, valid_1, first_1, last_1, valid_2, first_2, last_2 : std_ulogic := '0';
  signal x_source, x_source_1, x_source_2 : x_source_t;
  signal w_source, w_source_1 : w_source_t;
  signal x_address, w_address : address_t;
  signal x_bank, x_bank_1, x_bank_2 : bank_t;
  signal w_place : natural range 0 to larger(largest(packing_weights), 2) - 1;
  signal w_packing : natural range 0 to larger(packing_bits'length, 2) - 1;
  signal w_lane : lane_t;

  signal input_address : unsigned(address_bits(input_depth) - 1 downto 0);
  signal activation_address : unsigned(address_bits(activation_depth) - 1 downto 0);
  signal exponential_address : unsigned(address_bits(window * groups) - 1 downto 0);
  signal weight_address : unsigned(address_bits(weights'length) - 1 downto 0);
  signal head_address : unsigned(address_bits(head_weights'length) - 1 downto 0);
  signal broadcast_address : unsigned(address_bits(broadcast_depth) - 1 downto 0);

  signal activation_words, activation_words_2 : std_ulogic_vector(unroll * lane_count * activation_bits - 1 downto 0);
  signal broadcast_words : std_ulogic_vector(unroll * lane_count * broadcast_bits - 1 downto 0);
  signal exponential_word, exponential_word_2 : std_ulogic_vector(lane_count * exponential_bits - 1 downto 0);
  signal weight_word : std_ulogic_vector(unroll * weight_bits - 1 downto 0);
  signal head_word : std_ulogic_vector(unroll * head_bits - 1 downto 0);
  signal x_2 : std_ulogic_vector(lane_count * x_bits - 1 downto 0);
  signal constants_2, w_2 : std_ulogic_vector(unroll * w_bits - 1 downto 0);
  signal stored_2 : std_ulogic;

  -- The codes of K or V in all banks, by fours; the broadcast operand of each output is one of them.
  constant quads : positive := (unroll * lane_count + 3) / 4;
  constant code_place_bits : positive := address_bits(4 * quads) + 1; -- so that more than the place in four is left
  type code_places_t is array (0 to unroll - 1) of unsigned(code_place_bits - 1 downto 0);
  type quad_places_t is array (0 to unroll - 1) of unsigned(code_place_bits - 1 downto 2);
  type codes_t is array (0 to quads - 1) of std_ulogic_vector(key_bits - 1 downto 0);
  type codes_of_outputs_t is array (0 to unroll - 1) of codes_t;
  signal code_1 : code_places_t;
  signal code_2 : quad_places_t;
  signal quads_2 : codes_of_outputs_t;

  signal captured, advance : std_ulogic;
  signal front : std_ulogic_vector(requantisers * acc_bits - 1 downto 0);

  signal parameter_address, stream_address, position_address : address_t;
  signal parameter_data : std_ulogic_vector(mult_bits + residual_mult_bits + offset_bits - 1 downto 0);
  signal position_data : std_ulogic_vector(lane_count * position_bits - 1 downto 0);
  signal stream_valid : std_ulogic;

  signal activation_valid, broadcast_valid : std_ulogic;
  signal activation_write, broadcast_write : address_t;
  signal activation_data : std_ulogic_vector(lane_count * activation_bits - 1 downto 0);
  signal broadcast_data : std_ulogic_vector(lane_count * broadcast_bits - 1 downto 0);
  signal write_bank : bank_t;

  signal score_valid, score_last : std_ulogic;
  signal score_table : count_t;
  signal score_key : unsigned(key_width - 1 downto 0);
  signal score_slice, reciprocal_slice, reciprocal_address : unsigned(address_bits(slices * groups) - 1 downto 0);
  signal score_data : std_ulogic_vector(requantisers * score_bits - 1 downto 0);
  signal exponential_valid, reciprocal_valid : std_ulogic;
  signal exponential_part : natural range 0 to larger(slices, 2) - 1;
  signal exponential_data : std_ulogic_vector(requantisers * exponential_bits - 1 downto 0);
  signal reciprocal_write, reciprocal_data : std_ulogic_vector(requantisers * 17 - 1 downto 0);
  signal exponential_write : unsigned(address_bits(window * groups) - 1 downto 0);
  signal softmax_valid, sum_valid, sum_last, diagonal, diagonal_1 : std_ulogic;
  signal softmax_slice : unsigned(address_bits(slices * groups) - 1 downto 0);
  signal softmax_data : std_ulogic_vector(requantisers * 17 - 1 downto 0);
  signal sum_data : std_ulogic_vector(requantisers * norm_bits - 1 downto 0);

  signal result_valid, result_last : std_ulogic;
  signal result_address : unsigned(address_bits(padded_outputs) - 1 downto 0);
  signal result_data : std_ulogic_vector(result_bits - 1 downto 0);

begin

  load : entity work.load
    generic map (
      window => window,
      features => features,
      lanes => lane_count,
      bits => input_bits
    )
    port map (
      clk => clk,
      rst => rst,
      in_ready => in_ready,
      in_valid => in_valid,
      in_data => in_data,
      write_valid => load_valid,
      write_address => load_address,
      write_data => load_data,
      full => full,
      take => take
    );

  issue : entity work.issue
    generic map (
      program => issue_program,
      window => window,
      lanes => lane_count,
      unroll => unroll,
      places => largest(packing_weights),
      packings => packing_bits'length,
      address_width => address_width,
      count_width => count_width
    )
    port map (
      clk => clk,
      rst => rst,
      full => full,
      take => take,
      free => free,
      valid => valid,
      first => first,
      last => last,
      x_source => x_source,
      x_address => x_address,
      x_bank => x_bank,
      w_source => w_source,
      w_address => w_address,
      w_place => w_place,
      w_packing => w_packing,
      w_lane => w_lane,
      diagonal => diagonal
    );

  -- An address reaches only the store that is asked; the others stay at 0, which is always legal.
  input_address <= resize(x_address, input_address'length) when valid = '1' and x_source = input_store else (others => '0');
  activation_address <=
    resize(x_address, activation_address'length) when valid = '1' and x_source = activation_store else (others => '0');
  exponential_address <=
    resize(x_address, exponential_address'length) when valid = '1' and x_source = exponential_store else (others => '0');
  weight_address <= resize(w_address, weight_address'length) when valid = '1' and w_source = weight_rom else (others => '0');
  head_address <= resize(w_address, head_address'length) when valid = '1' and w_source = head_rom else (others => '0');
  broadcast_address <=
    resize(stream_address, broadcast_address'length) when stream_valid = '1' else
    resize(w_address, broadcast_address'length) when valid = '1' and (w_source = keys or w_source = values_t) else
    (others => '0');

  inputs : entity work.ram
    generic map (width => lane_count * input_bits, depth => input_depth, memory_type => input_memory)
    port map (clk, load_valid, load_address, load_data, input_address, input_word);

  banks : for u in 0 to unroll - 1 generate
    signal write_activation, write_broadcast : std_ulogic;
  begin
    write_activation <= activation_valid when write_bank = u else '0';
    write_broadcast <= broadcast_valid when write_bank = u else '0';

    activations : entity work.ram
      generic map (
        width => lane_count * activation_bits,
        depth => activation_depth,
        memory_type => activation_memory
      )
      port map (
        clk => clk,
        write_valid => write_activation,
        write_address => activation_write(address_bits(activation_depth) - 1 downto 0),
        write_data => activation_data,
        read_address => activation_address,
        read_data =>
          activation_words((u + 1) * lane_count * activation_bits - 1 downto u * lane_count * activation_bits)
      );

    broadcasts : entity work.ram
      generic map (
        width => lane_count * broadcast_bits,
        depth => broadcast_depth,
        memory_type => broadcast_memory
      )
      port map (
        clk => clk,
        write_valid => write_broadcast,
        write_address => broadcast_write(address_bits(broadcast_depth) - 1 downto 0),
        write_data => broadcast_data,
        read_address => broadcast_address,
        read_data => broadcast_words((u + 1) * lane_count * broadcast_bits - 1 downto u * lane_count * broadcast_bits)
      );
  end generate;

  weight_store : entity work.weight_store
    generic map (
      unroll => unroll,
      weight_bits => weight_bits,
      word_bits => weight_word_bits,
      packing_bits => packing_bits,
      packing_weights => packing_weights,
      depth => weights'length,
      contents => weights,
      segment_depths => weight_segments,
      block_segments => block_segments,
      memory_type => weight_memory
    )
    port map (clk, weight_address, w_place, w_packing, weight_word);

  head_store : entity work.rom
    generic map (width => unroll * head_bits, depth => head_weights'length, contents => head_weights, memory_type => head_memory)
    port map (clk, head_address, head_word);

  parameter_store : entity work.rom
    generic map (
      width => mult_bits + residual_mult_bits + offset_bits,
      depth => parameters'length,
      contents => parameters,
      memory_type => parameter_memory
    )
    port map (clk, parameter_address(address_bits(parameters'length) - 1 downto 0), parameter_data);

  position_store : entity work.rom
    generic map (width => lane_count * position_bits, depth => positions'length, contents => positions, memory_type => position_memory)
    port map (clk, position_address(address_bits(positions'length) - 1 downto 0), position_data);

  -- One memory per slice of lanes, because the exponentials arrive slice by slice.
  exponential_slices : for s in 0 to slices - 1 generate
    constant slice_bits : positive := requantisers * exponential_bits;
    signal write_valid : std_ulogic;
  begin
    write_valid <= exponential_valid when exponential_part = s else '0';
    store : entity work.ram
      generic map (width => slice_bits, depth => window * groups, memory_type => exponential_memory)
      port map (
        clk => clk,
        write_valid => write_valid,
        write_address => exponential_write,
        write_data => exponential_data,
        read_address => exponential_address,
        read_data => exponential_word((s + 1) * slice_bits - 1 downto s * slice_bits)
      );
  end generate;

  reciprocals : entity work.ram
    generic map (
      width => requantisers * 17,
      depth => 2 ** address_bits(slices * groups),
      memory_type => reciprocal_memory
    )
    port map (
      clk => clk,
      write_valid => reciprocal_valid,
      write_address => reciprocal_slice,
      write_data => reciprocal_write,
      read_address => reciprocal_address,
      read_data => reciprocal_data
    );

  align : process (clk)
    variable base : natural range 0 to unroll * lane_count - 1;
    variable place : natural;
  begin
    if rising_edge(clk) then
      valid_1 <= valid and not rst;
      first_1 <= first;
      last_1 <= last;
      x_source_1 <= x_source;
      w_source_1 <= w_source;
      x_bank_1 <= x_bank;
      diagonal_1 <= diagonal;
      -- Of K every bank holds another feature, and `unroll` tokens side by side are wanted; of V every bank holds another
      -- wanted feature of one token.
      for o in 0 to unroll - 1 loop
        base := o * lane_count;
        if w_source = keys then
          for u in 0 to unroll - 1 loop
            if x_bank = u then
              base := u * lane_count + o;
            end if;
          end loop;
        end if;
        code_1(o) <= to_unsigned(base + w_lane, code_place_bits);
      end loop;

      -- Registers behind the memories, whose output is slow: nothing but one of four codes is selected before them.
      valid_2 <= valid_1 and not rst;
      first_2 <= first_1;
      last_2 <= last_1;
      x_source_2 <= x_source_1;
      x_bank_2 <= x_bank_1;
      input_word_2 <= input_word;
      activation_words_2 <= activation_words;
      exponential_word_2 <= exponential_word;
      stored_2 <= '0';
      if w_source_1 = keys or w_source_1 = values_t then
        stored_2 <= '1';
      end if;
      for o in 0 to unroll - 1 loop
        constants_2((o + 1) * w_bits - 1 downto o * w_bits) <=
          std_ulogic_vector(resize(signed(weight_word((o + 1) * weight_bits - 1 downto o * weight_bits)), w_bits));
        if w_source_1 = head_rom then
          constants_2((o + 1) * w_bits - 1 downto o * w_bits) <=
            std_ulogic_vector(resize(signed(head_word((o + 1) * head_bits - 1 downto o * head_bits)), w_bits));
        end if;
        if norm_features > 0 and w_source_1 = centre then
          constants_2((o + 1) * w_bits - 1 downto o * w_bits) <= (others => '1');
          if diagonal_1 = '1' and x_bank_1 = o then
            constants_2((o + 1) * w_bits - 1 downto o * w_bits) <= std_ulogic_vector(to_signed(norm_features - 1, w_bits));
          end if;
        end if;
        code_2(o) <= code_1(o)(code_place_bits - 1 downto 2);
        for q in 0 to quads - 1 loop
          place := 4 * q;
          quads_2(o)(q) <= broadcast_words(place * broadcast_bits + key_bits - 1 downto place * broadcast_bits);
          for k in 1 to 3 loop
            place := 4 * q + k;
            if place < unroll * lane_count and code_1(o)(1 downto 0) = k then
              quads_2(o)(q) <= broadcast_words(place * broadcast_bits + key_bits - 1 downto place * broadcast_bits);
            end if;
          end loop;
        end loop;
      end loop;
    end if;
  end process;

  -- A process for each lane: GHDL 2.0 takes time exponential in the slices of one signal that a process assigns under conditions.
  lane_operands : for l in 0 to lane_count - 1 generate
    process (all)
      variable place : natural;
      variable code : std_ulogic_vector(x_bits - 1 downto 0);
    begin
      code := std_ulogic_vector(resize(signed(input_word_2((l + 1) * input_bits - 1 downto l * input_bits)), x_bits));
      if x_source_2 = exponential_store then
        code := std_ulogic_vector(
          resize(unsigned(exponential_word_2((l + 1) * exponential_bits - 1 downto l * exponential_bits)), x_bits));
      elsif x_source_2 = activation_store then
        for u in 0 to unroll - 1 loop
          place := u * lane_count + l;
          if x_bank_2 = u then
            code := std_ulogic_vector(
              resize(signed(activation_words_2((place + 1) * activation_bits - 1 downto place * activation_bits)), x_bits));
          end if;
        end loop;
      end if;
      x_2((l + 1) * x_bits - 1 downto l * x_bits) <= code;
    end process;
  end generate;

  broadcast_operands : process (all)
    variable code : std_ulogic_vector(key_bits - 1 downto 0);
  begin
    w_2 <= constants_2;
    if stored_2 = '1' then
      for o in 0 to unroll - 1 loop
        code := quads_2(o)(0);
        for q in 1 to quads - 1 loop
          if to_integer(code_2(o)) = q then
            code := quads_2(o)(q);
          end if;
        end loop;
        w_2((o + 1) * w_bits - 1 downto o * w_bits) <= std_ulogic_vector(resize(signed(code), w_bits));
      end loop;
    end if;
  end process;

  multipliers : entity work.lanes
    generic map (
      lane_count => lane_count,
      unroll => unroll,
      requantisers => requantisers,
      operands => operands,
      dsp_macs => dsp_macs,
      x_bits => x_bits,
      w_bits => w_bits,
      product_bits => product_bits,
      packed_bits => packed_bits,
      acc_bits => acc_bits
    )
    port map (
      clk => clk,
      rst => rst,
      valid => valid_2,
      first => first_2,
      last => last_2,
      x => x_2,
      w => w_2,
      captured => captured,
      advance => advance,
      front => front
    );

  retire : entity work.retire
    generic map (
      program => retire_program,
      window => window,
      lanes => lane_count,
      unroll => unroll,
      requantisers => requantisers,
      acc_bits => acc_bits,
      mult_bits => mult_bits,
      residual_mult_bits => residual_mult_bits,
      offset_bits => offset_bits,
      sum_bits => sum_bits,
      result_bits => result_bits,
      activation_bits => activation_bits,
      broadcast_bits => broadcast_bits,
      position_bits => position_bits,
      score_bits => score_bits,
      norm_bits => norm_bits,
      shifts => shifts,
      residual_shifts => residual_shifts,
      widths => widths,
      address_width => address_width,
      count_width => count_width,
      key_width => key_width,
      slice_width => address_bits(slices * groups),
      output_width => address_bits(padded_outputs)
    )
    port map (
      clk => clk,
      rst => rst,
      captured => captured,
      advance => advance,
      front => front,
      parameter_address => parameter_address,
      parameter_data => parameter_data,
      stream_valid => stream_valid,
      stream_address => stream_address,
      stream_data => broadcast_words,
      position_address => position_address,
      position_data => position_data,
      reciprocal_address => reciprocal_address,
      reciprocal_data => reciprocal_data,
      activation_valid => activation_valid,
      activation_address => activation_write,
      activation_data => activation_data,
      broadcast_valid => broadcast_valid,
      broadcast_address => broadcast_write,
      broadcast_data => broadcast_data,
      write_bank => write_bank,
      score_valid => score_valid,
      score_last => score_last,
      score_table => score_table,
      score_key => score_key,
      score_slice => score_slice,
      score_data => score_data,
      sum_valid => sum_valid,
      sum_last => sum_last,
      sum_data => sum_data,
      result_valid => result_valid,
      result_last => result_last,
      result_address => result_address,
      result_data => result_data
    );

  softmax : entity work.softmax
    generic map (
      keys => window,
      padded_keys => padded_keys,
      groups => groups,
      parts => slices,
      width => requantisers,
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

  -- Softmax and LayerNorm never write reciprocals at once: the codes that start one retire behind the operation that has waited for
  -- all reciprocals of the other.
  norm : if norm_features > 0 generate
    signal norm_valid, sum_first : std_ulogic;
    signal norm_slice : unsigned(address_bits(slices * groups) - 1 downto 0);
    signal norm_data : std_ulogic_vector(requantisers * 17 - 1 downto 0);
  begin
    sum_first <= '1' when score_key = 0 else '0';

    layer_norm : entity work.layer_norm
      generic map (
        features => norm_features,
        slices => slices * groups,
        width => requantisers,
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

    reciprocal_valid <= softmax_valid or norm_valid;
    reciprocal_slice <= norm_slice when norm_valid = '1' else softmax_slice;
    reciprocal_write <= norm_data when norm_valid = '1' else softmax_data;
  end generate;

  no_norm : if norm_features = 0 generate
    reciprocal_valid <= softmax_valid;
    reciprocal_slice <= softmax_slice;
    reciprocal_write <= softmax_data;
  end generate;

  unload : entity work.unload
    generic map (
      outputs => outputs,
      padded_outputs => padded_outputs,
      bits => result_bits
    )
    port map (
      clk => clk,
      rst => rst,
      write_valid => result_valid,
      write_address => result_address,
      write_data => result_data,
      write_last => result_last,
      free => free,
      out_ready => out_ready,
      out_valid => out_valid,
      out_data => out_data
    );

end architecture;
