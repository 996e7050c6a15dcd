-- Constant memory of weights, in segments of block RAM and of LUTs, several weights in one memory word.
--
-- `unroll` weights, one for each output feature, are addressed by their memory word and their place in the word. Packed so, they
-- use the parity bits of block RAM (nine weights of 8 bits fill 72), and layers of fewer bits have more places in the same word.
--
-- Twin:    tests/twins.py, weight_store.
-- Clocks:  read_data follows read_address and read_place by one.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity weight_store is
  generic (
    unroll : positive;
    weight_bits : positive; -- of the widest weight; the others are extended to it
    word_bits : positive; -- of a memory word
    place_lows : integer_vector; -- lowest bit of each place in a memory word
    place_bits : integer_vector; -- bits of a weight at each place
    depth : positive; -- memory words
    contents : words_t; -- (depth - 1 downto 0)(word_bits - 1 downto 0)
    segment_depths : integer_vector; -- memory words of each segment, in the order of their addresses
    block_segments : natural; -- the first ones are block RAM
    memory_type : string := "auto" -- of the others: auto | block | distributed
  );
  port (
    clk : in std_ulogic;
    read_address : in unsigned(address_bits(depth) - 1 downto 0);
    read_place : in natural range 0 to larger(place_lows'length, 2) - 1;
    read_data : out std_ulogic_vector(unroll * weight_bits - 1 downto 0)
  );
end entity;

architecture rtl of weight_store is

  constant segments : positive := segment_depths'length;

  function base(segment : natural) return natural is
    variable words : natural := 0;
  begin
    for index in 0 to segment - 1 loop
      words := words + segment_depths(index);
    end loop;
    return words;
  end function;

  function type_of(segment : natural) return string is
  begin
    if segment < block_segments then
      return "block";
    end if;
    return memory_type;
  end function;

  subtype word_t is std_ulogic_vector(word_bits - 1 downto 0);

  function weights_at(word : word_t; place : natural) return std_ulogic_vector is
    variable weights : std_ulogic_vector(unroll * weight_bits - 1 downto 0);
    variable low : natural;
  begin
    for u in 0 to unroll - 1 loop
      low := place_lows(place) + u * place_bits(place);
      weights((u + 1) * weight_bits - 1 downto u * weight_bits) :=
        std_ulogic_vector(resize(signed(word(low + place_bits(place) - 1 downto low)), weight_bits));
    end loop;
    return weights;
  end function;

  type words_of_segments_t is array (0 to segments - 1) of word_t;
  signal words : words_of_segments_t;
  signal segment_1 : natural range 0 to larger(segments, 2) - 1;
  signal place_1 : natural range 0 to larger(place_lows'length, 2) - 1;

begin

  each : for s in 0 to segments - 1 generate
    constant first : natural := base(s);
    constant words_here : positive := segment_depths(s);
    signal address : unsigned(address_bits(words_here) - 1 downto 0);
  begin
    whole : if segments = 1 generate
      address <= read_address;
    end generate;
    -- Outside the segment its first word is read, which is always legal. Integers, because GHDL 2.0 cuts a bound of all
    -- address bits to 0 in Verilog.
    part : if segments > 1 generate
      address <=
        resize(read_address - first, address_bits(words_here))
          when to_integer(read_address) >= first and to_integer(read_address) < first + words_here else
        (others => '0');
    end generate;
    segment : entity work.rom
      generic map (
        width => word_bits,
        depth => words_here,
        contents => contents(first + words_here - 1 downto first),
        memory_type => type_of(s)
      )
      port map (
        clk => clk,
        read_address => address,
        read_data => words(s)
      );
  end generate;

  process (clk)
  begin
    if rising_edge(clk) then
      segment_1 <= 0;
      for s in 1 to segments - 1 loop
        if to_integer(read_address) >= base(s) then
          segment_1 <= s;
        end if;
      end loop;
      place_1 <= read_place;
    end if;
  end process;

  process (all)
    variable word : word_t;
  begin
    word := words(0);
    for s in 1 to segments - 1 loop
      if segment_1 = s then
        word := words(s);
      end if;
    end loop;
    read_data <= weights_at(word, 0);
    for p in 1 to place_lows'length - 1 loop
      if place_1 = p then
        read_data <= weights_at(word, p);
      end if;
    end loop;
  end process;

end architecture;
