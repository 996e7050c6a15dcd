-- Multiply-accumulate for `operands` lanes that share the broadcast operand.
--
-- Twin:    tests/hdl/entity_twins.py, mac.
-- Clocks:  x and w, then product, then acc: three registers; `first` starts a new sum, `valid` counts a term in.
-- Widths:  every product fits product_bits and every partial sum fits acc_bits: proven in Python, trusted here.
--
-- Several operands share one multiplier: their packed number is x(0) + x(1) 2**product_bits + ..., and field k of the
-- product with w is short by one where the fields below it are negative, which the sign bit below the field tells.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

entity mac is
  generic (
    operands : positive; -- lanes on one multiplier
    x_bits : positive; -- of a lane operand, signed
    w_bits : positive; -- of a broadcast operand, signed
    product_bits : positive; -- of a product, signed
    packed_bits : positive; -- of the operands of one multiplier, packed
    acc_bits : positive; -- of a sum of products, signed
    multiplier : string -- dsp | lut
  );
  port (
    clk : in std_ulogic;

    valid : in std_ulogic;
    first : in std_ulogic;
    x : in std_ulogic_vector(operands * x_bits - 1 downto 0);
    w : in signed(w_bits - 1 downto 0);

    acc : out std_ulogic_vector(operands * acc_bits - 1 downto 0)
  );
end entity;

architecture rtl of mac is

  signal valid_1, valid_2, first_1, first_2 : std_ulogic := '0';

begin

  assert multiplier = "dsp" or multiplier = "lut"
    report "mac: multiplier """ & multiplier & """ is not one of dsp, lut"
    severity failure;

  flags : process (clk)
  begin
    if rising_edge(clk) then
      valid_1 <= valid;
      first_1 <= first;
      valid_2 <= valid_1;
      first_2 <= first_1;
    end if;
  end process;

  -- The form that packs operand, product and accumulator registers into one DSP48E1.
  single : if operands = 1 and multiplier = "dsp" generate
    signal x_1 : signed(x_bits - 1 downto 0);
    signal w_1 : signed(w_bits - 1 downto 0);
    signal product : signed(x_bits + w_bits - 1 downto 0);
    signal base, total : signed(acc_bits - 1 downto 0);
  begin
    base <= (others => '0') when first_2 = '1' else total;
    acc <= std_ulogic_vector(total);

    process (clk)
    begin
      if rising_edge(clk) then
        x_1 <= signed(x);
        w_1 <= w;
        product <= x_1 * w_1;
        if valid_2 = '1' then
          total <= base + resize(product, acc_bits);
        end if;
      end if;
    end process;
  end generate;

  packed : if operands > 1 and multiplier = "dsp" generate
    signal x_1 : signed(packed_bits - 1 downto 0);
    signal w_1 : signed(w_bits - 1 downto 0);
    signal product : signed(packed_bits + w_bits - 1 downto 0);
  begin
    process (clk)
      variable sum : signed(packed_bits - 1 downto 0);
    begin
      if rising_edge(clk) then
        sum := resize(signed(x(x_bits - 1 downto 0)), packed_bits);
        for k in 1 to operands - 1 loop
          sum := sum
            + shift_left(resize(signed(x((k + 1) * x_bits - 1 downto k * x_bits)), packed_bits), k * product_bits);
        end loop;
        x_1 <= sum;
        w_1 <= w;
        product <= x_1 * w_1;
      end if;
    end process;

    lane : for k in 0 to operands - 1 generate
      signal base, total : signed(acc_bits - 1 downto 0);
      signal borrow : unsigned(0 downto 0);
    begin
      lowest : if k = 0 generate
        borrow <= "0";
      else generate
        borrow(0) <= product(k * product_bits - 1);
      end generate;
      base <= (others => '0') when first_2 = '1' else total;
      acc((k + 1) * acc_bits - 1 downto k * acc_bits) <= std_ulogic_vector(total);

      process (clk)
      begin
        if rising_edge(clk) then
          if valid_2 = '1' then
            total <= base + resize(product((k + 1) * product_bits - 1 downto k * product_bits), acc_bits)
              + signed(resize(borrow, acc_bits));
          end if;
        end if;
      end process;
    end generate;
  end generate;

  fabric : if multiplier = "lut" generate
    signal w_1 : signed(w_bits - 1 downto 0);
  begin
    operand : process (clk)
    begin
      if rising_edge(clk) then
        w_1 <= w;
      end if;
    end process;

    lane : for k in 0 to operands - 1 generate
      signal x_1 : signed(x_bits - 1 downto 0);
      signal product, next_product : signed(x_bits + w_bits - 1 downto 0);
      signal base, total : signed(acc_bits - 1 downto 0);
    begin
      -- Rows of partial products, so that no tool takes a DSP; the top bit of w is negative.
      rows : process (all)
        variable sum : signed(x_bits + w_bits - 1 downto 0);
        variable row : signed(x_bits + w_bits - 1 downto 0);
      begin
        sum := (others => '0');
        for bit_index in 0 to w_bits - 1 loop
          if w_1(bit_index) = '1' then
            row := shift_left(resize(x_1, x_bits + w_bits), bit_index);
          else
            row := (others => '0');
          end if;
          if bit_index = w_bits - 1 then
            sum := sum - row;
          else
            sum := sum + row;
          end if;
        end loop;
        next_product <= sum;
      end process;
      base <= (others => '0') when first_2 = '1' else total;
      acc((k + 1) * acc_bits - 1 downto k * acc_bits) <= std_ulogic_vector(total);

      process (clk)
      begin
        if rising_edge(clk) then
          x_1 <= signed(x((k + 1) * x_bits - 1 downto k * x_bits));
          product <= next_product;
          if valid_2 = '1' then
            total <= base + resize(product, acc_bits);
          end if;
        end if;
      end process;
    end generate;
  end generate;

end architecture;
