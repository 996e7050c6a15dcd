-- Constant memory of weights, in segments of block RAM and of LUTs, several weights in one memory word.
--
-- `unroll` weights, one for each output feature, are addressed by their memory word and their place in the word. Packed so, they
-- use the parity bits of block RAM (nine weights of 8 bits fill 72), and of layers of fewer bits a word holds more: each width has
-- its packing, from bit 0 on.
--
-- Twin:    tests/hdl/entity_twins.py, weight_store.
-- Clocks:  read_data follows read_address, read_place and read_packing by one.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity weight_store is
  generic (
    unroll : positive; -- output features computed at once
    weight_bits : positive; -- of the widest weight; the others are extended to it
    word_bits : positive; -- of a memory word
    packing_bits : integer_vector; -- bits of a weight in each packing
    packing_weights : integer_vector; -- places in a memory word
    depth : positive; -- memory words
    contents : words_t; -- (depth - 1 downto 0)(word_bits - 1 downto 0)
    segment_depths : integer_vector; -- memory words of each segment, in the order of their addresses
    block_segments : natural; -- the first ones are block RAM
    memory_type : string := "auto" -- of the others: auto | block | distributed
  );
  port (
    clk : in std_ulogic;
    read_address : in unsigned(address_bits(depth) - 1 downto 0);
    read_place : in natural range 0 to larger(largest(packing_weights), 2) - 1;
    read_packing : in natural range 0 to larger(packing_bits'length, 2) - 1;
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
  type words_of_segments_t is array (0 to segments - 1) of word_t;
  signal words : words_of_segments_t;
  signal segment_1 : natural range 0 to larger(segments, 2) - 1;
  signal packing_1 : natural range 0 to larger(packing_bits'length, 2) - 1;
  signal word : word_t;

  subtype weights_t is std_ulogic_vector(unroll * weight_bits - 1 downto 0);
  type weights_of_packings_t is array (0 to packing_bits'length - 1) of weights_t;
  signal weights : weights_of_packings_t;

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
      packing_1 <= read_packing;
    end if;
  end process;

  process (all)
  begin
    word <= words(0);
    for s in 1 to segments - 1 loop
      if segment_1 = s then
        word <= words(s);
      end if;
    end loop;
  end process;

  packings : for k in 0 to packing_bits'length - 1 generate
    constant bits : positive := packing_bits(k);
    type places_t is array (0 to packing_weights(k) - 1) of std_ulogic_vector(unroll * bits - 1 downto 0);
    signal places : places_t;
    signal place : std_ulogic_vector(unroll * bits - 1 downto 0);
    signal place_1 : natural range 0 to larger(packing_weights(k), 2) - 1;
  begin
    process (clk)
    begin
      if rising_edge(clk) then
        place_1 <= 0;
        if read_packing = k then
          place_1 <= read_place;
        end if;
      end if;
    end process;

    -- An index, because a chain of comparisons takes twice the LUTs.
    choices : for p in 0 to packing_weights(k) - 1 generate
      places(p) <= word((p + 1) * unroll * bits - 1 downto p * unroll * bits);
    end generate;
    one : if packing_weights(k) = 1 generate
      place <= places(0); -- an index of no bits becomes a character string in GHDL's Verilog
    end generate;
    several : if packing_weights(k) > 1 generate
      place <= places(place_1);
    end generate;

    extended : for u in 0 to unroll - 1 generate
      weights(k)((u + 1) * weight_bits - 1 downto u * weight_bits) <=
        std_ulogic_vector(resize(signed(place((u + 1) * bits - 1 downto u * bits)), weight_bits));
    end generate;
  end generate;

  process (all)
  begin
    read_data <= weights(0);
    for k in 1 to packing_bits'length - 1 loop
      if packing_1 = k then
        read_data <= weights(k);
      end if;
    end loop;
  end process;

end architecture;
