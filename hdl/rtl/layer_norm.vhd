-- Reciprocals of the standard deviations of tokens, from the codes of their features.
--
-- Codes arrive while they retire, `width` rows (a slice) of one feature at a time; sum and sum of squares of each row are kept
-- on the way in. After `start` three stages work on one slice each: the variance d S2 - S1**2, its square root, the reciprocal.
--
-- Twin:    qtlib.program.reference.layer_norm, the reciprocals.
-- Clocks:  the reciprocals of slice s leave 18 s + 23 + sum_bits + root_bits clocks after `start`
--          (qtlib.hardware.pipeline.root_clocks).
-- Widths:  of any codes, from the generics; the root is at least 2**reciprocal_bits - 1, so a reciprocal has 17 bits.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity layer_norm is
  generic (
    features : positive; -- codes of a token: d
    slices : positive; -- of rows, over all groups of tokens
    width : positive; -- rows of a slice
    bits : positive; -- of a code
    reciprocal_bits : positive; -- of the limit of the roots; the dividend is 2**(reciprocal_bits + 16)
    table_memory : string := "auto" -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    sum_valid : in std_ulogic;
    sum_first : in std_ulogic; -- the first feature of its rows
    sum_slice : in unsigned(address_bits(slices) - 1 downto 0);
    sum_data : in std_ulogic_vector(width * bits - 1 downto 0);

    start : in std_ulogic; -- with the last codes

    reciprocal_valid : out std_ulogic;
    reciprocal_slice : out unsigned(address_bits(slices) - 1 downto 0);
    reciprocal_data : out std_ulogic_vector(width * 17 - 1 downto 0)
  );
end entity;

architecture rtl of layer_norm is

  -- d = 2**twos * odd: the odd part is in the table of squares, the power of two in the wiring.
  function trailing_zeros return natural is
    variable count : natural := 0;
  begin
    while (features / 2 ** count) mod 2 = 0 loop
      count := count + 1;
    end loop;
    return count;
  end function;

  constant period : positive := 18; -- the dividers need 18 clocks, the other stages fewer
  constant largest_code : positive := 2 ** (bits - 1); -- its absolute value
  constant twos : natural := trailing_zeros;
  constant odd : positive := features / 2 ** twos;
  constant square_bits : positive := address_bits(odd * largest_code ** 2 + 1);
  constant sum_bits : positive := address_bits(features * largest_code) + 1;
  constant squares_bits : positive := address_bits(features * odd * largest_code ** 2 + 1);
  constant variance_bits : positive := 2 * sum_bits; -- of d S2, S1**2 and their difference, signed
  constant root_bits : positive := larger(2, address_bits(features * (2 ** bits - 1) / 2 + 1));
  constant total_bits : positive := larger(root_bits, reciprocal_bits);
  constant slice_bits : positive := address_bits(slices);

  function table_of_squares return words_t is
    variable contents : words_t(2 ** bits - 1 downto 0)(square_bits - 1 downto 0);
    variable code : integer;
  begin
    for index in contents'range loop
      code := index;
      if index >= largest_code then
        code := index - 2 * largest_code;
      end if;
      contents(index) := std_ulogic_vector(to_unsigned(odd * code * code, square_bits));
    end loop;
    return contents;
  end function;

  signal valid_1, first_1, start_1 : std_ulogic := '0';
  signal slice_1, kept_slice : unsigned(slice_bits - 1 downto 0);

  signal running : std_ulogic := '0';
  signal clock : natural range 0 to period - 1;
  signal slice, slice_root, slice_divide : unsigned(slice_bits - 1 downto 0);
  signal load_sums, step_high, step_sign, step_bit : std_ulogic;
  signal place : natural range 0 to sum_bits - 1; -- of the bit of the sum that is multiplied
  signal variance_valid, rooting, root_valid : std_ulogic := '0';
  signal pair : natural range 0 to root_bits - 1; -- of bits of the variance
  signal quotient_valid : std_ulogic_vector(width - 1 downto 0);

begin

  -- While the stages run no code arrives, so one address serves both.
  kept_slice <= slice when running = '1' else slice_1;
  load_sums <= '1' when running = '1' and clock = 0 else '0';
  step_high <= '1' when running = '1' and clock = 1 else '0';
  step_sign <= '1' when running = '1' and clock = 2 else '0';
  step_bit <= '1' when running = '1' and clock > 2 and clock <= sum_bits + 1 else '0';
  reciprocal_valid <= quotient_valid(0);
  reciprocal_slice <= slice_divide;

  control : process (clk)
  begin
    if rising_edge(clk) then
      valid_1 <= sum_valid;
      first_1 <= sum_first;
      start_1 <= start;
      slice_1 <= sum_slice;

      if running = '1' then
        if clock = period - 1 then
          clock <= 0;
          if slice = slices - 1 then
            running <= '0';
          else
            slice <= slice + 1;
          end if;
        else
          clock <= clock + 1;
        end if;
      elsif start_1 = '1' then
        running <= '1';
        clock <= 0;
        slice <= (others => '0');
      end if;

      if running = '0' or clock <= 1 then
        place <= sum_bits - 1;
      elsif place /= 0 then
        place <= place - 1;
      end if;

      variance_valid <= '0';
      if running = '1' and clock = sum_bits + 1 then
        variance_valid <= '1';
      end if;

      root_valid <= '0';
      if variance_valid = '1' then
        rooting <= '1';
        pair <= root_bits - 1;
        slice_root <= slice;
      elsif rooting = '1' then
        if pair = 0 then
          rooting <= '0';
          root_valid <= '1';
        else
          pair <= pair - 1;
        end if;
      end if;
      if root_valid = '1' then
        slice_divide <= slice_root;
      end if;

      if rst = '1' then
        running <= '0';
        start_1 <= '0';
        valid_1 <= '0';
        variance_valid <= '0';
        rooting <= '0';
        root_valid <= '0';
        clock <= 0;
        place <= 0;
        pair <= 0;
        slice <= (others => '0');
        slice_1 <= (others => '0');
        slice_root <= (others => '0');
        slice_divide <= (others => '0');
      end if;
    end if;
  end process;

  rows : for r in 0 to width - 1 generate
    type sums_t is array (2 ** slice_bits - 1 downto 0) of std_ulogic_vector(sum_bits + squares_bits - 1 downto 0);
    signal kept : sums_t; -- of a row: its sum above its squares
    signal kept_word : std_ulogic_vector(sum_bits + squares_bits - 1 downto 0);
    signal code : signed(bits - 1 downto 0);
    signal square : std_ulogic_vector(square_bits - 1 downto 0);
    signal sum : signed(sum_bits - 1 downto 0);
    signal squares : unsigned(variance_bits - 1 downto 0); -- d S2
    signal variance : signed(variance_bits - 1 downto 0);
    signal radicand : std_ulogic_vector(2 * root_bits - 1 downto 0);
    signal root : unsigned(root_bits - 1 downto 0);
    signal remainder : signed(root_bits + 1 downto 0);
    signal limited : unsigned(total_bits - 1 downto 0);
    signal quotient : unsigned(16 downto 0);
  begin
    reciprocal_data((r + 1) * 17 - 1 downto r * 17) <= std_ulogic_vector(quotient);
    kept_word <= kept(to_integer(kept_slice));

    squared : entity work.rom
      generic map (
        width => square_bits,
        depth => 2 ** bits,
        contents => table_of_squares,
        memory_type => table_memory
      )
      port map (
        clk => clk,
        read_address => unsigned(sum_data((r + 1) * bits - 1 downto r * bits)),
        read_data => square
      );

    collect : process (clk)
      variable old_sum : signed(sum_bits - 1 downto 0);
      variable old_squares : unsigned(squares_bits - 1 downto 0);
    begin
      if rising_edge(clk) then
        code <= signed(sum_data((r + 1) * bits - 1 downto r * bits));
        old_sum := (others => '0');
        old_squares := (others => '0');
        if first_1 = '0' then
          old_sum := signed(kept_word(sum_bits + squares_bits - 1 downto squares_bits));
          old_squares := unsigned(kept_word(squares_bits - 1 downto 0));
        end if;
        if valid_1 = '1' then
          kept(to_integer(kept_slice)) <= std_ulogic_vector(resize(code, sum_bits) + old_sum)
            & std_ulogic_vector(resize(unsigned(square), squares_bits) + old_squares);
        end if;
      end if;
    end process;

    -- d S2 - S1**2 from the highest bit of S1 down: twice the last value, one more bit of d S2, less S1 where its bit is set;
    -- the sign bit counts negative.
    variance_of_row : process (clk)
      variable addend : signed(variance_bits - 1 downto 0);
      variable subtract : std_ulogic;
      variable total : signed(variance_bits downto 0);
    begin
      if rising_edge(clk) then
        if load_sums = '1' then
          sum <= signed(kept_word(sum_bits + squares_bits - 1 downto squares_bits));
          squares <= (others => '0');
          squares(squares_bits + twos - 1 downto twos) <= unsigned(kept_word(squares_bits - 1 downto 0));
          variance <= (others => '0');
        elsif step_high = '1' or step_sign = '1' or step_bit = '1' then
          addend := (others => '0');
          subtract := '0';
          if step_high = '1' then
            addend := resize(signed('0' & squares(variance_bits - 1 downto sum_bits)), variance_bits);
          elsif sum(place) = '1' then
            addend := resize(sum, variance_bits);
            subtract := not step_sign;
          end if;
          if subtract = '1' then
            addend := not addend;
          end if;
          -- The lowest place carries the one of the negation, so that one adder does.
          total := (variance(variance_bits - 2 downto 0) & (squares(place) and not step_high) & '1') + (addend & subtract);
          variance <= total(variance_bits downto 1);
        end if;
        if variance_valid = '1' then
          radicand <= std_ulogic_vector(variance(2 * root_bits - 1 downto 0));
        end if;
      end if;
    end process;

    -- Square root, two bits of the radicand and one of the root a clock, without restoring the remainder.
    root_of_row : process (clk)
      variable addend, next_remainder : signed(root_bits + 1 downto 0);
    begin
      if rising_edge(clk) then
        if variance_valid = '1' then
          root <= (others => '0');
          remainder <= (others => '0');
        elsif rooting = '1' then
          addend := signed(root & "11");
          if remainder(root_bits + 1) = '0' then
            addend := signed((not root) & "11"); -- less 4 root + 1
          end if;
          next_remainder := (remainder(root_bits - 1 downto 0) & radicand(2 * pair + 1) & radicand(2 * pair)) + addend;
          remainder <= next_remainder;
          root <= root(root_bits - 2 downto 0) & not next_remainder(root_bits + 1);
        end if;
      end if;
    end process;

    -- At least 2**reciprocal_bits - 1: all ones, unless a higher bit is set.
    limit : process (all)
      variable above : std_ulogic;
    begin
      limited <= resize(root, total_bits);
      above := '0';
      for index in reciprocal_bits to root_bits - 1 loop
        above := above or root(index);
      end loop;
      if above = '0' then
        limited <= to_unsigned(2 ** reciprocal_bits - 1, total_bits);
      end if;
    end process;

    reciprocal : entity work.divider
      generic map (
        exponential_bits => reciprocal_bits,
        total_bits => total_bits
      )
      port map (
        clk => clk,
        rst => rst,
        in_ready => open,
        in_valid => root_valid,
        total => limited,
        out_valid => quotient_valid(r),
        quotient => quotient
      );
  end generate;

end architecture;
