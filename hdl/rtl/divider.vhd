-- Reciprocal of a row sum of exponentials: floor(2**(exponential_bits + 16) / total), one bit per clock.
--
-- Twin:    qtlib.program.rounding.reciprocal.
-- Clocks:  out_valid 18 clocks after in_valid; in_ready again at the same clock.
-- Widths:  total >= 2**exponential_bits - 1, because the largest exponential of a row is that; so the quotient has 17 bits.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

entity divider is
  generic (
    exponential_bits : positive; -- the dividend is 2**(exponential_bits + 16); of the root of a LayerNorm: reciprocal_bits
    total_bits : positive -- of the divisor: a row sum, or a root
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    in_ready : out std_ulogic;
    in_valid : in std_ulogic;
    total : in unsigned(total_bits - 1 downto 0);

    out_valid : out std_ulogic := '0'; -- for one clock
    quotient : out unsigned(16 downto 0)
  );
end entity;

architecture rtl of divider is

  signal remaining : natural range 0 to 17 := 0;
  signal divisor : unsigned(total_bits - 1 downto 0);
  signal remainder : unsigned(total_bits - 1 downto 0);

begin

  in_ready <= '1' when remaining = 0 else '0';

  process (clk)
    variable doubled : unsigned(total_bits downto 0);
  begin
    if rising_edge(clk) then
      out_valid <= '0';
      if remaining = 0 then
        if in_valid = '1' then
          divisor <= total;
          remainder <= to_unsigned(2 ** (exponential_bits - 1), total_bits);
          remaining <= 17;
        end if;
      else
        doubled := remainder & '0';
        if doubled >= ('0' & divisor) then
          remainder <= resize(doubled - divisor, total_bits);
          quotient <= quotient(15 downto 0) & '1';
        else
          remainder <= doubled(total_bits - 1 downto 0);
          quotient <= quotient(15 downto 0) & '0';
        end if;
        if remaining = 1 then
          out_valid <= '1';
        end if;
        remaining <= remaining - 1;
      end if;
      if rst = '1' then
        remaining <= 0;
        out_valid <= '0';
      end if;
    end if;
  end process;

end architecture;
