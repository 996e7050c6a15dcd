-- saturate((acc * mult + (residual * residual_mult << residual_shift) + offset) >> shift): the one rounding, half up
-- because the half is in the offset, and the one overflow rule.
--
-- Twin:    qtlib.program.rounding.requantise after the products of qtlib.program.reference.linear.
-- Clocks:  products, aligned addends, sum, code: four registers; one code per clock, never stalls.
-- Widths:  sum_bits is proven in Python; trusted here.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity requantise is
  generic (
    acc_bits : positive; -- of a sum of products, signed
    mult_bits : positive; -- signed
    residual_bits : positive; -- of the code of a residual, signed
    residual_mult_bits : positive; -- of the multiplier of a residual, signed
    offset_bits : positive; -- of an offset, signed
    sum_bits : positive; -- of the sum that is shifted down, signed
    code_bits : positive; -- of the widest code
    shifts : integer_vector; -- the distinct shifts of a program
    residual_shifts : integer_vector; -- the distinct shifts of residuals of a program
    widths : integer_vector -- the distinct widths of codes of a program
  );
  port (
    clk : in std_ulogic;

    acc : in signed(acc_bits - 1 downto 0);
    mult : in signed(mult_bits - 1 downto 0);
    residual : in signed(residual_bits - 1 downto 0);
    residual_mult : in signed(residual_mult_bits - 1 downto 0);
    offset : in signed(offset_bits - 1 downto 0);
    shift : in count_t;
    residual_shift : in count_t;
    width : in count_t;

    code : out signed(code_bits - 1 downto 0)
  );
end entity;

architecture rtl of requantise is

  constant shifted_bits : positive := larger(sum_bits - smallest(shifts), code_bits + 1);

  signal product, product_1 : signed(acc_bits + mult_bits - 1 downto 0);
  signal residual_product : signed(residual_bits + residual_mult_bits - 1 downto 0);
  signal offset_1 : signed(offset_bits - 1 downto 0);
  signal addend, sum : signed(sum_bits - 1 downto 0);
  signal shift_1, shift_2, shift_3 : natural range 0 to shifts'length - 1;
  signal residual_shift_1 : natural range 0 to residual_shifts'length - 1;
  signal width_1, width_2, width_3 : natural range 0 to widths'length - 1;

  function saturate(value : signed; bits : positive) return signed is
    constant above : std_ulogic_vector := std_ulogic_vector(value(value'length - 1 downto bits - 1));
    variable clipped : signed(bits - 1 downto 0);
  begin
    clipped := value(bits - 1 downto 0);
    if (or above) = '1' and (and above) = '0' then
      clipped := (others => not value(value'length - 1));
      clipped(bits - 1) := value(value'length - 1);
    end if;
    return resize(clipped, code_bits);
  end function;

begin

  process (clk)
    variable shifted : signed(shifted_bits - 1 downto 0);
    variable aligned : signed(sum_bits - 1 downto 0);
  begin
    if rising_edge(clk) then
      product <= acc * mult;
      residual_product <= residual * residual_mult;
      offset_1 <= offset;
      shift_1 <= shift;
      residual_shift_1 <= residual_shift;
      width_1 <= width;

      aligned := (others => '0');
      for index in residual_shifts'range loop
        if residual_shift_1 = index then
          aligned := shift_left(resize(residual_product, sum_bits), residual_shifts(index));
        end if;
      end loop;
      -- One adder in each clock.
      addend <= aligned + resize(offset_1, sum_bits);
      product_1 <= product;
      shift_2 <= shift_1;
      width_2 <= width_1;

      sum <= resize(product_1, sum_bits) + addend;
      shift_3 <= shift_2;
      width_3 <= width_2;

      shifted := (others => '0');
      for index in shifts'range loop
        if shift_3 = index then
          shifted := resize(sum(sum_bits - 1 downto shifts(index)), shifted_bits);
        end if;
      end loop;
      code <= (others => '0');
      for index in widths'range loop
        if width_3 = index then
          code <= saturate(shifted, widths(index));
        end if;
      end loop;
    end if;
  end process;

end architecture;
