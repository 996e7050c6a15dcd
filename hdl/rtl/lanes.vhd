-- The multipliers: `lanes` tokens times `unroll` output features, and the registers that hold finished sums.
--
-- Twin:    tests/hdl/entity_twins.py, lanes.
-- Clocks:  a finished sum stands in `front` four clocks after its last term; `advance` moves the next
--          `requantisers` sums to the front, lanes first, then output features.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity lanes is
  generic (
    lane_count : positive; -- tokens computed side by side
    unroll : positive; -- output features computed at once
    requantisers : positive; -- sums that leave per clock
    operands : positive; -- lanes on one multiplier
    dsp_macs : natural; -- multipliers in DSP blocks; the others are made of LUTs
    x_bits : positive; -- of a lane operand, signed
    w_bits : positive; -- of a broadcast operand, signed
    product_bits : positive; -- of a product, signed
    packed_bits : positive; -- of the operands of one multiplier, packed
    acc_bits : positive -- of a sum of products, signed
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    valid : in std_ulogic;
    first : in std_ulogic;
    last : in std_ulogic;
    x : in std_ulogic_vector(lane_count * x_bits - 1 downto 0);
    w : in std_ulogic_vector(unroll * w_bits - 1 downto 0);

    captured : out std_ulogic := '0'; -- new sums stand in front
    advance : in std_ulogic;
    front : out std_ulogic_vector(requantisers * acc_bits - 1 downto 0)
  );
end entity;

architecture rtl of lanes is

  constant macs : positive := (lane_count + operands - 1) / operands; -- for each output feature
  constant sum_bits : positive := unroll * lane_count * acc_bits;
  constant front_bits : positive := requantisers * acc_bits;

  signal x_padded : std_ulogic_vector(macs * operands * x_bits - 1 downto 0) := (others => '0');
  signal sums, held : std_ulogic_vector(sum_bits - 1 downto 0);
  signal finished : std_ulogic_vector(2 downto 0) := (others => '0');

  function kind(index : natural) return string is
  begin
    if index < dsp_macs then
      return "dsp";
    end if;
    return "lut";
  end function;

begin

  x_padded(x'range) <= x;
  front <= held(front_bits - 1 downto 0);

  outputs : for u in 0 to unroll - 1 generate
    tokens : for group_index in 0 to macs - 1 generate
      signal acc : std_ulogic_vector(operands * acc_bits - 1 downto 0);
    begin
      mac : entity work.mac
        generic map (
          operands => operands,
          x_bits => x_bits,
          w_bits => w_bits,
          product_bits => product_bits,
          packed_bits => packed_bits,
          acc_bits => acc_bits,
          multiplier => kind(u * macs + group_index)
        )
        port map (
          clk => clk,
          valid => valid,
          first => first,
          x => x_padded((group_index + 1) * operands * x_bits - 1 downto group_index * operands * x_bits),
          w => signed(w((u + 1) * w_bits - 1 downto u * w_bits)),
          acc => acc
        );
      lane : for k in 0 to operands - 1 generate
        inside : if group_index * operands + k < lane_count generate
          constant place : natural := u * lane_count + group_index * operands + k;
        begin
          sums((place + 1) * acc_bits - 1 downto place * acc_bits) <= acc((k + 1) * acc_bits - 1 downto k * acc_bits);
        end generate;
      end generate;
    end generate;
  end generate;

  capture : process (clk)
  begin
    if rising_edge(clk) then
      if finished(2) = '1' then
        held <= sums;
      elsif advance = '1' then
        held(sum_bits - front_bits - 1 downto 0) <= held(sum_bits - 1 downto front_bits);
      end if;
    end if;
  end process;

  control : process (clk)
  begin
    if rising_edge(clk) then
      finished <= finished(1 downto 0) & (last and valid);
      captured <= finished(2);
      if rst = '1' then
        finished <= (others => '0');
        captured <= '0';
      end if;
    end if;
  end process;

end architecture;
