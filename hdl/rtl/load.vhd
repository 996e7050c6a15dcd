-- Receives a window: codes of feature 0 of every token, then feature 1, and so on; writes words of all lanes.
--
-- Twin:    tests/hdl/entity_twins.py, load.
-- Clocks:  features * groups * lanes per window while in_valid stays high; the surplus lanes of the last group are
--          filled with zeros in clocks of their own. `full` rises one clock after the last word is written and falls
--          after `take`.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity load is
  generic (
    window : positive; -- tokens
    features : positive; -- codes of a token
    lanes : positive; -- tokens computed side by side
    bits : positive -- of a code
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    in_ready : out std_ulogic;
    in_valid : in std_ulogic;
    in_data : in std_ulogic_vector(bits - 1 downto 0);

    write_valid : out std_ulogic := '0';
    write_address : out unsigned(address_bits(features * ((window + lanes - 1) / lanes)) - 1 downto 0);
    write_data : out std_ulogic_vector(lanes * bits - 1 downto 0);

    full : out std_ulogic := '0';
    take : in std_ulogic
  );
end entity;

architecture rtl of load is

  constant groups : positive := (window + lanes - 1) / lanes;
  constant words : positive := features * groups;

  signal receiving : std_ulogic := '1';
  signal lane : natural range 0 to lanes - 1 := 0;
  signal token : natural range 0 to groups * lanes - 1 := 0;
  signal address : natural range 0 to words - 1 := 0;
  signal data : std_ulogic_vector(lanes * bits - 1 downto 0);
  signal surplus : std_ulogic;

begin

  surplus <= '1' when token >= window else '0';
  in_ready <= receiving and not surplus;
  write_data <= data;

  process (clk)
    variable code : std_ulogic_vector(bits - 1 downto 0);
  begin
    if rising_edge(clk) then
      write_valid <= '0';
      if take = '1' then
        full <= '0';
        receiving <= '1';
      end if;
      if receiving = '0' and full = '0' and take = '0' then
        full <= '1';
      end if;
      if receiving = '1' and (in_valid = '1' or surplus = '1') then
        code := in_data;
        if surplus = '1' then
          code := (others => '0');
        end if;
        data((lanes - 1) * bits - 1 downto 0) <= data(lanes * bits - 1 downto bits);
        data(lanes * bits - 1 downto (lanes - 1) * bits) <= code;
        if token = groups * lanes - 1 then
          token <= 0;
        else
          token <= token + 1;
        end if;
        if lane = lanes - 1 then
          lane <= 0;
          write_valid <= '1';
          write_address <= to_unsigned(address, write_address'length);
          if address = words - 1 then
            address <= 0;
            receiving <= '0';
          else
            address <= address + 1;
          end if;
        else
          lane <= lane + 1;
        end if;
      end if;
      if rst = '1' then
        receiving <= '1';
        full <= '0';
        lane <= 0;
        token <= 0;
        address <= 0;
        write_valid <= '0';
        write_address <= (others => '0');
      end if;
    end if;
  end process;

end architecture;
