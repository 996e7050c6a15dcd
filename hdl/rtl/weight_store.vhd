-- Constant memory of weights, in segments of block RAM and of LUTs, several weights in one memory word.
--
-- A weight (of `unroll` output features) is addressed by its memory word and its place in the word. Widths that do not
-- fill a word of block RAM would leave its parity bits unused: nine weights of 8 bits fill 72.
--
-- Twin:    tests/twins.py, weight_store.
-- Clocks:  read_data follows read_address and read_place by one.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity weight_store is
  generic (
    width : positive; -- bits of a weight
    pack : positive; -- weights in a memory word
    depth : positive; -- memory words
    contents : words_t; -- (depth - 1 downto 0)(pack * width - 1 downto 0)
    segment_depths : integer_vector; -- memory words of each segment, in the order of their addresses
    block_segments : natural; -- the first ones are block RAM
    memory_type : string := "auto" -- of the others: auto | block | distributed
  );
  port (
    clk : in std_ulogic;
    read_address : in unsigned(address_bits(depth) - 1 downto 0);
    read_place : in natural range 0 to larger(pack, 2) - 1;
    read_data : out std_ulogic_vector(width - 1 downto 0)
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

  subtype word_t is std_ulogic_vector(pack * width - 1 downto 0);
  type words_of_segments_t is array (0 to segments - 1) of word_t;
  signal words : words_of_segments_t;
  signal segment_1 : natural range 0 to larger(segments, 2) - 1;
  signal place_1 : natural range 0 to larger(pack, 2) - 1;

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
        width => pack * width,
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
    read_data <= word(width - 1 downto 0);
    for p in 1 to pack - 1 loop
      if place_1 = p then
        read_data <= word((p + 1) * width - 1 downto p * width);
      end if;
    end loop;
  end process;

end architecture;
