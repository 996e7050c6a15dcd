-- What reaches the multipliers: a code for every lane, and a broadcast code for every output feature.
--
-- x, the lane operand, comes from the input store, a bank of the activation store or the exponential store. w, the
-- broadcast operand, is a weight, a weight of the head, a code of K or V, or a constant of `centre`. Of K every bank
-- holds another feature, and `unroll` tokens side by side are wanted; of V every bank holds another wanted feature of
-- one token.
--
-- Twin:    tests/hdl/entity_twins.py, operand_select.
-- Clocks:  the stores answer one clock after an operand is issued, x and w stand one clock later. Only one of four
--          codes of K and V is selected before the registers behind the stores; all else is selected behind them.
-- Widths:  codes are extended to x_bits and w_bits, exponentials as unsigned (qtlib.hardware.operand_widths).

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity operand_select is
  generic (
    lane_count : positive range 1 to 256; -- tokens at once
    unroll : positive range 1 to 256; -- output features at once, and banks
    input_bits : positive range 2 to 32; -- of a code in the input store
    activation_bits : positive range 2 to 32; -- of a code in the activation store
    exponential_bits : positive range 2 to 32; -- of an exponential, unsigned
    broadcast_bits : positive range 2 to 32; -- of a code in the broadcast store
    key_bits : positive range 2 to 32; -- of the widest code of K and V
    weight_bits : positive range 2 to 32; -- of the widest weight
    head_bits : positive range 2 to 32; -- of a weight of the head
    x_bits : positive range 2 to 32; -- of a lane operand
    w_bits : positive range 2 to 32; -- of a broadcast operand
    norm_features : natural -- of a LayerNorm; 0: the program has none, and `centre` is never asked
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    in_valid : in std_ulogic;
    in_first : in std_ulogic; -- term of a sum
    in_last : in std_ulogic;
    x_source : in x_source_t;
    x_bank : in natural range 0 to larger(unroll, 2) - 1; -- of the activation store; of K and `centre`, of the feature
    w_source : in w_source_t;
    w_lane : in natural range 0 to larger(lane_count, 2) - 1; -- of K and V: the token's, of K the first of `unroll`
    diagonal : in std_ulogic; -- centre: the term is an output of this step; its bank says which

    input_word : in std_ulogic_vector(lane_count * input_bits - 1 downto 0);
    activation_words : in std_ulogic_vector(unroll * lane_count * activation_bits - 1 downto 0);
    exponential_word : in std_ulogic_vector(lane_count * exponential_bits - 1 downto 0);
    weight_word : in std_ulogic_vector(unroll * weight_bits - 1 downto 0);
    head_word : in std_ulogic_vector(unroll * head_bits - 1 downto 0);
    broadcast_words : in std_ulogic_vector(unroll * lane_count * broadcast_bits - 1 downto 0);

    out_valid : out std_ulogic;
    out_first : out std_ulogic;
    out_last : out std_ulogic;
    x : out std_ulogic_vector(lane_count * x_bits - 1 downto 0);
    w : out std_ulogic_vector(unroll * w_bits - 1 downto 0)
  );
end entity;

architecture rtl of operand_select is

  subtype bank_t is natural range 0 to larger(unroll, 2) - 1;

  signal valid_1, first_1, last_1, valid_2, first_2, last_2 : std_ulogic := '0';
  signal x_source_1, x_source_2 : x_source_t;
  signal w_source_1 : w_source_t;
  signal x_bank_1, x_bank_2 : bank_t;
  signal diagonal_1 : std_ulogic;

  signal input_word_2 : std_ulogic_vector(input_word'range);
  signal activation_words_2 : std_ulogic_vector(activation_words'range);
  signal exponential_word_2 : std_ulogic_vector(exponential_word'range);
  signal constants_2 : std_ulogic_vector(unroll * w_bits - 1 downto 0);
  signal stored_2 : std_ulogic; -- w is a code of K or V

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

begin

  out_valid <= valid_2;
  out_first <= first_2;
  out_last <= last_2;

  align : process (clk)
    variable base : natural range 0 to unroll * lane_count - 1;
    variable place : natural;
  begin
    if rising_edge(clk) then
      valid_1 <= in_valid and not rst;
      first_1 <= in_first;
      last_1 <= in_last;
      x_source_1 <= x_source;
      w_source_1 <= w_source;
      x_bank_1 <= x_bank;
      diagonal_1 <= diagonal;
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
            constants_2((o + 1) * w_bits - 1 downto o * w_bits) <=
              std_ulogic_vector(to_signed(norm_features - 1, w_bits));
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

  -- A process for each lane: GHDL 2.0 takes time exponential in the slices of one signal that a process assigns under
  -- conditions.
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
            code := std_ulogic_vector(resize(
              signed(activation_words_2((place + 1) * activation_bits - 1 downto place * activation_bits)), x_bits));
          end if;
        end loop;
      end if;
      x((l + 1) * x_bits - 1 downto l * x_bits) <= code;
    end process;
  end generate;

  broadcast_operands : process (all)
    variable code : std_ulogic_vector(key_bits - 1 downto 0);
  begin
    w <= constants_2;
    if stored_2 = '1' then
      for o in 0 to unroll - 1 loop
        code := quads_2(o)(0);
        for q in 1 to quads - 1 loop
          if to_integer(code_2(o)) = q then
            code := quads_2(o)(q);
          end if;
        end loop;
        w((o + 1) * w_bits - 1 downto o * w_bits) <= std_ulogic_vector(resize(signed(code), w_bits));
      end loop;
    end if;
  end process;

end architecture;
