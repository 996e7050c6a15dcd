-- Retires finished sums: requantises them, gathers the codes of all lanes into words and writes these where they belong;
-- sums the head's results over the tokens.
--
-- For each operation: for each step, for each group of tokens, for each of `unroll` outputs, for each slice of lanes.
--
-- Twin:    qtlib.program.reference.linear, scores, context, head.
-- Clocks:  unroll * slices per capture; a code is ready 6 clocks after its slot, a word is readable 8 clocks after the slot
--          of its last slice, a result is ready 5 clocks after its slot (qtlib.hardware.pipeline, CODE, READABLE, RESULT).

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity retire is
  generic (
    program : retire_program_t; -- operations in their order, as this side sees them
    window : positive; -- tokens
    lanes : positive; -- tokens computed side by side
    unroll : positive; -- output features computed at once
    requantisers : positive; -- codes requantised per clock
    acc_bits : positive; -- of a sum of products, signed
    mult_bits : positive; -- of a multiplier, signed
    residual_mult_bits : positive; -- of the multiplier of a residual, signed
    offset_bits : positive; -- of an offset, signed
    sum_bits : positive; -- of the sum that is shifted down, signed
    result_bits : positive; -- of a result of the head, signed
    activation_bits : positive; -- of a code in the activation store
    broadcast_bits : positive; -- of a code in the broadcast store
    position_bits : positive; -- of a code of the position table
    score_bits : positive; -- of a score
    norm_bits : positive; -- of the codes that a LayerNorm reads
    shifts : integer_vector; -- the distinct shifts of a program
    residual_shifts : integer_vector; -- the distinct shifts of residuals
    widths : integer_vector; -- the distinct widths of codes
    address_width : positive; -- bits of an address in the microprogram
    count_width : positive; -- bits of the counter of steps
    key_width : positive; -- of score_key
    slice_width : positive; -- of score_slice
    output_width : positive -- of result_address
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    captured : in std_ulogic;
    advance : out std_ulogic;
    front : in std_ulogic_vector(requantisers * acc_bits - 1 downto 0);

    parameter_address : out unsigned(address_width - 1 downto 0);
    parameter_data : in std_ulogic_vector(mult_bits + residual_mult_bits + offset_bits - 1 downto 0);

    stream_valid : out std_ulogic; -- the broadcast store is read for a residual
    stream_address : out unsigned(address_width - 1 downto 0);
    stream_data : in std_ulogic_vector(unroll * lanes * broadcast_bits - 1 downto 0);

    position_address : out unsigned(address_width - 1 downto 0);
    position_data : in std_ulogic_vector(lanes * position_bits - 1 downto 0);

    reciprocal_address : out unsigned(slice_width - 1 downto 0);
    reciprocal_data : in std_ulogic_vector(requantisers * 17 - 1 downto 0);

    activation_valid : out std_ulogic;
    activation_address : out unsigned(address_width - 1 downto 0);
    activation_data : out std_ulogic_vector(lanes * activation_bits - 1 downto 0);

    broadcast_valid : out std_ulogic;
    broadcast_address : out unsigned(address_width - 1 downto 0);
    broadcast_data : out std_ulogic_vector(lanes * broadcast_bits - 1 downto 0);

    write_bank : out natural range 0 to larger(unroll, 2) - 1;

    score_valid : out std_ulogic;
    score_last : out std_ulogic; -- with the last scores of a head
    score_table : out count_t; -- of exponentials
    score_key : out unsigned(key_width - 1 downto 0);
    score_slice : out unsigned(slice_width - 1 downto 0);
    score_data : out std_ulogic_vector(requantisers * score_bits - 1 downto 0);

    sum_valid : out std_ulogic; -- codes that a LayerNorm reads; their feature is score_key, their rows score_slice
    sum_last : out std_ulogic; -- with the last of them
    sum_data : out std_ulogic_vector(requantisers * norm_bits - 1 downto 0);

    result_valid : out std_ulogic;
    result_last : out std_ulogic; -- with the last result of a window
    result_address : out unsigned(output_width - 1 downto 0);
    result_data : out std_ulogic_vector(result_bits - 1 downto 0)
  );
end entity;

architecture rtl of retire is

  constant groups : positive := (window + lanes - 1) / lanes;
  constant surplus : natural := groups * lanes - window; -- lanes of the last group that hold no token
  constant slices : positive := lanes / requantisers;
  constant residual_bits : positive := larger(broadcast_bits, position_bits);
  constant code_bits : positive := largest(widths);

  -- What travels with a slot through the pipeline.
  type tag_t is record
    active : std_ulogic;
    op : retire_t;
    op_last : boolean; -- last slot of the operation
    unit : natural range 0 to unroll - 1;
    slice : natural range 0 to slices - 1;
    slice_last : boolean;
    group_first : boolean;
    group_last : boolean;
    activation_address : unsigned(address_width - 1 downto 0);
    broadcast_address : unsigned(address_width - 1 downto 0);
    key : unsigned(key_width - 1 downto 0);
    row_slice : unsigned(slice_width - 1 downto 0);
    result : unsigned(output_width - 1 downto 0);
  end record;
  type tags_t is array (natural range <>) of tag_t;

  signal loaded, busy : std_ulogic := '0';
  signal active : std_ulogic;
  signal pc : natural range 0 to program'length - 1 := 0; -- of the operation after `op`
  signal op : retire_t;
  signal steps_left : natural range 0 to 2 ** count_width - 1;
  signal group_index : natural range 0 to groups - 1;
  signal unit : natural range 0 to unroll - 1;
  signal slice : natural range 0 to slices - 1;
  signal parameter_word, parameter_word_start, position_word : unsigned(address_width - 1 downto 0);
  signal stream_word, activation_word, broadcast_word : unsigned(address_width - 1 downto 0);
  signal row_slice, row_slice_start : unsigned(slice_width - 1 downto 0);
  signal key, key_start : unsigned(key_width - 1 downto 0);
  signal result, result_start : unsigned(output_width - 1 downto 0);
  signal tag : tags_t(1 to 7);

  signal acc_1, acc_2 : std_ulogic_vector(requantisers * acc_bits - 1 downto 0);
  signal mult_2 : std_ulogic_vector(requantisers * mult_bits - 1 downto 0);
  signal residual_2 : std_ulogic_vector(requantisers * residual_bits - 1 downto 0);
  signal residual_mult_2 : signed(residual_mult_bits - 1 downto 0);
  signal offset_2, offset_3, offset_4 : signed(offset_bits - 1 downto 0);
  signal shift_2, residual_shift_2, width_2 : count_t;
  signal codes : std_ulogic_vector(requantisers * code_bits - 1 downto 0);
  signal word : std_ulogic_vector(lanes * code_bits - 1 downto 0);

  type totals_t is array (0 to unroll - 1) of signed(result_bits - 1 downto 0);
  signal totals : totals_t;
  signal partial_3 : signed(result_bits - 1 downto 0);

begin

  active <= captured or busy;
  advance <= active;
  parameter_address <= parameter_word;
  position_address <= position_word when op.residual = position else (others => '0');
  stream_address <= stream_word;
  stream_valid <= '1' when active = '1' and op.residual = stream else '0';
  reciprocal_address <= row_slice;

  -- Walks the slots of each capture and the captures of each operation.
  walk : process (clk)
    variable op_ends : boolean;
    variable next_op : retire_t;
  begin
    if rising_edge(clk) then
      op_ends := false;
      if active = '1' then
        busy <= '1';
        if slice /= slices - 1 then
          slice <= slice + 1;
          row_slice <= row_slice + 1;
        else
          slice <= 0;
          row_slice <= row_slice_start;
          position_word <= position_word + 1;
          if unit /= unroll - 1 then
            unit <= unit + 1;
            key <= key + 1;
            result <= result + 1;
            if not op.parameter_shared then
              parameter_word <= parameter_word + 1;
            end if;
          else
            busy <= '0';
            unit <= 0;
            stream_word <= stream_word + 1;
            activation_word <= activation_word + 1;
            broadcast_word <= broadcast_word + 1;
            if group_index /= groups - 1 then
              group_index <= group_index + 1;
              row_slice <= row_slice_start + slices;
              row_slice_start <= row_slice_start + slices;
              parameter_word <= parameter_word_start;
              key <= key_start;
              result <= result_start;
            else
              group_index <= 0;
              row_slice <= (others => '0');
              row_slice_start <= (others => '0');
              if not op.parameter_shared then
                parameter_word <= parameter_word + 1;
                parameter_word_start <= parameter_word + 1;
              end if;
              key <= key + 1;
              key_start <= key + 1;
              result <= result + 1;
              result_start <= result + 1;
              if steps_left /= 0 then
                steps_left <= steps_left - 1;
              else
                op_ends := true;
              end if;
            end if;
          end if;
        end if;
      end if;

      if op_ends or loaded = '0' then
        next_op := program(pc);
        loaded <= '1';
        op <= next_op;
        steps_left <= next_op.last_step;
        parameter_word <= to_unsigned(next_op.parameter_base, address_width);
        parameter_word_start <= to_unsigned(next_op.parameter_base, address_width);
        position_word <= (others => '0');
        stream_word <= to_unsigned(next_op.residual_base, address_width);
        activation_word <= to_unsigned(next_op.activation_base, address_width);
        broadcast_word <= to_unsigned(next_op.broadcast_base, address_width);
        key <= (others => '0');
        key_start <= (others => '0');
        result <= (others => '0');
        result_start <= (others => '0');
        if pc = program'length - 1 then
          pc <= 0;
        else
          pc <= pc + 1;
        end if;
      end if;

      tag(1).active <= active;
      tag(1).op <= op;
      tag(1).op_last <= steps_left = 0 and group_index = groups - 1 and unit = unroll - 1 and slice = slices - 1;
      tag(1).unit <= unit;
      tag(1).slice <= slice;
      tag(1).slice_last <= slice = slices - 1;
      tag(1).group_first <= group_index = 0 and slice = 0;
      tag(1).group_last <= group_index = groups - 1;
      tag(1).activation_address <= activation_word;
      tag(1).broadcast_address <= broadcast_word;
      tag(1).key <= key;
      tag(1).row_slice <= row_slice;
      tag(1).result <= result;
      tag(2 to 7) <= tag(1 to 6);

      if rst = '1' then
        loaded <= '0';
        busy <= '0';
        pc <= 0;
        steps_left <= 0;
        unit <= 0;
        slice <= 0;
        group_index <= 0;
        parameter_word <= (others => '0');
        position_word <= (others => '0');
        stream_word <= (others => '0');
        activation_word <= (others => '0');
        broadcast_word <= (others => '0');
        key <= (others => '0');
        result <= (others => '0');
        row_slice <= (others => '0');
        row_slice_start <= (others => '0');
        for index in tag'range loop
          tag(index).active <= '0';
          tag(index).activation_address <= (others => '0');
          tag(index).broadcast_address <= (others => '0');
          tag(index).key <= (others => '0');
          tag(index).row_slice <= (others => '0');
          tag(index).result <= (others => '0');
        end loop;
      end if;
    end if;
  end process;

  -- Stages 1 and 2: what the memories answer, aligned with the sums.
  operands : process (clk)
    variable place : natural;
  begin
    if rising_edge(clk) then
      acc_1 <= front;
      acc_2 <= acc_1;
      offset_2 <= signed(parameter_data(offset_bits - 1 downto 0));
      residual_mult_2 <= signed(parameter_data(residual_mult_bits + offset_bits - 1 downto offset_bits));
      for r in 0 to requantisers - 1 loop
        if tag(1).op.row_multiplier then
          mult_2((r + 1) * mult_bits - 1 downto r * mult_bits) <=
            std_ulogic_vector(resize(unsigned(reciprocal_data((r + 1) * 17 - 1 downto r * 17)), mult_bits));
        else
          mult_2((r + 1) * mult_bits - 1 downto r * mult_bits) <=
            parameter_data(mult_bits + residual_mult_bits + offset_bits - 1 downto residual_mult_bits + offset_bits);
        end if;
        residual_2((r + 1) * residual_bits - 1 downto r * residual_bits) <= (others => '0');
        for s in 0 to slices - 1 loop
          if tag(1).op.residual = position and tag(1).slice = s then
            place := s * requantisers + r;
            residual_2((r + 1) * residual_bits - 1 downto r * residual_bits) <= std_ulogic_vector(
              resize(signed(position_data((place + 1) * position_bits - 1 downto place * position_bits)), residual_bits));
          end if;
          for u in 0 to unroll - 1 loop
            if tag(1).op.residual = stream and tag(1).slice = s and tag(1).unit = u then
              place := u * lanes + s * requantisers + r;
              residual_2((r + 1) * residual_bits - 1 downto r * residual_bits) <= std_ulogic_vector(
                resize(signed(stream_data((place + 1) * broadcast_bits - 1 downto place * broadcast_bits)), residual_bits));
            end if;
          end loop;
        end loop;
      end loop;
    end if;
  end process;

  -- Stages 3 to 6.
  shift_2 <= tag(2).op.shift;
  residual_shift_2 <= tag(2).op.residual_shift;
  width_2 <= tag(2).op.width;

  row : for r in 0 to requantisers - 1 generate
    signal code : signed(code_bits - 1 downto 0);
  begin
    codes((r + 1) * code_bits - 1 downto r * code_bits) <= std_ulogic_vector(code);

    requantise : entity work.requantise
      generic map (
        acc_bits => acc_bits,
        mult_bits => mult_bits,
        residual_bits => residual_bits,
        residual_mult_bits => residual_mult_bits,
        offset_bits => offset_bits,
        sum_bits => sum_bits,
        code_bits => code_bits,
        shifts => shifts,
        residual_shifts => residual_shifts,
        widths => widths
      )
      port map (
        clk => clk,
        acc => signed(acc_2((r + 1) * acc_bits - 1 downto r * acc_bits)),
        mult => signed(mult_2((r + 1) * mult_bits - 1 downto r * mult_bits)),
        residual => signed(residual_2((r + 1) * residual_bits - 1 downto r * residual_bits)),
        residual_mult => residual_mult_2,
        offset => offset_2,
        shift => shift_2,
        residual_shift => residual_shift_2,
        width => width_2,
        code => code
      );
    score_data((r + 1) * score_bits - 1 downto r * score_bits) <=
      codes(r * code_bits + score_bits - 1 downto r * code_bits);
    sum_data((r + 1) * norm_bits - 1 downto r * norm_bits) <= codes(r * code_bits + norm_bits - 1 downto r * code_bits);
  end generate;

  score_valid <= '1' when tag(6).active = '1' and tag(6).op.write_scores else '0';
  score_last <= '1' when tag(6).active = '1' and tag(6).op.write_scores and tag(6).op_last else '0';
  sum_valid <= '1' when tag(6).active = '1' and tag(6).op.write_sums else '0';
  sum_last <= '1' when tag(6).active = '1' and tag(6).op.write_sums and tag(6).op_last else '0';
  score_table <= tag(6).op.table;
  score_key <= tag(6).key;
  score_slice <= tag(6).row_slice;

  -- Stage 7: the word of all lanes.
  gather : process (clk)
  begin
    if rising_edge(clk) then
      if tag(6).active = '1' then
        word((lanes - requantisers) * code_bits - 1 downto 0) <= word(lanes * code_bits - 1 downto requantisers * code_bits);
        word(lanes * code_bits - 1 downto (lanes - requantisers) * code_bits) <= codes;
      end if;
    end if;
  end process;

  write_bank <= tag(7).unit;
  activation_valid <= '1' when tag(7).active = '1' and tag(7).slice_last and tag(7).op.write_activations else '0';
  activation_address <= tag(7).activation_address;
  broadcast_valid <= '1' when tag(7).active = '1' and tag(7).slice_last and tag(7).op.write_broadcast else '0';
  broadcast_address <= tag(7).broadcast_address;

  lane : for l in 0 to lanes - 1 generate
    activation_data((l + 1) * activation_bits - 1 downto l * activation_bits) <=
      std_ulogic_vector(resize(signed(word((l + 1) * code_bits - 1 downto l * code_bits)), activation_bits));
    broadcast_data((l + 1) * broadcast_bits - 1 downto l * broadcast_bits) <=
      std_ulogic_vector(resize(signed(word((l + 1) * code_bits - 1 downto l * code_bits)), broadcast_bits));
  end generate;

  -- The head: sums over slices and groups of tokens, then the offset.
  head : process (clk)
    variable partial, base : signed(result_bits - 1 downto 0);
    variable counts : boolean; -- the lane holds a token
  begin
    if rising_edge(clk) then
      partial := (others => '0');
      for r in 0 to requantisers - 1 loop
        counts := true;
        for s in 0 to slices - 1 loop
          if tag(2).group_last and tag(2).slice = s and s * requantisers + r >= lanes - surplus then
            counts := false;
          end if;
        end loop;
        -- One adder for each requantiser: an addition inside the loop over slices would become one adder for each lane.
        if counts then
          partial := partial + resize(signed(acc_2((r + 1) * acc_bits - 1 downto r * acc_bits)), result_bits);
        end if;
      end loop;
      partial_3 <= partial;
      offset_3 <= offset_2;

      if tag(3).group_first then
        base := (others => '0');
      else
        base := totals(tag(3).unit);
      end if;
      if tag(3).active = '1' then
        totals(tag(3).unit) <= base + partial_3;
      end if;
      offset_4 <= offset_3;

      result_data <= std_ulogic_vector(totals(tag(4).unit) + resize(offset_4, result_bits));
    end if;
  end process;

  result_valid <=
    '1' when tag(5).active = '1' and tag(5).op.write_results and tag(5).group_last and tag(5).slice_last else '0';
  result_last <= '1' when tag(5).op_last else '0';
  result_address <= tag(5).result;

end architecture;
