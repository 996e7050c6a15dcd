-- Keeps the results of a window and sends them, output 0 first.
--
-- Twin:    tests/hdl/entity_twins.py, unload.
-- Clocks:  out_valid rises two clocks after the last result is written; two clocks per result while out_ready is high.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity unload is
  generic (
    outputs : positive; -- results of a window
    padded_outputs : positive; -- outputs that may be written; the surplus is never sent
    bits : positive -- of a result
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    write_valid : in std_ulogic;
    write_address : in unsigned(address_bits(padded_outputs) - 1 downto 0);
    write_data : in std_ulogic_vector(bits - 1 downto 0);
    write_last : in std_ulogic; -- with the last result of a window

    free : out std_ulogic; -- nothing waits to be sent

    out_ready : in std_ulogic;
    out_valid : out std_ulogic;
    out_data : out std_ulogic_vector(bits - 1 downto 0)
  );
end entity;

architecture rtl of unload is

  type state_t is (empty, fetch, send);
  signal state : state_t := empty;
  signal index : natural range 0 to outputs - 1 := 0;
  signal read_address : unsigned(address_bits(padded_outputs) - 1 downto 0);

begin

  free <= '1' when state = empty else '0';
  out_valid <= '1' when state = send else '0';
  read_address <= to_unsigned(index, read_address'length);

  results : entity work.ram
    generic map (
      width => bits,
      depth => 2 ** address_bits(padded_outputs),
      memory_type => "distributed"
    )
    port map (
      clk => clk,
      write_valid => write_valid,
      write_address => write_address,
      write_data => write_data,
      read_address => read_address,
      read_data => out_data
    );

  process (clk)
  begin
    if rising_edge(clk) then
      if state = empty then
        if write_valid = '1' and write_last = '1' then
          state <= fetch;
        end if;
      elsif state = fetch then
        state <= send;
      else
        if out_ready = '1' then
          if index = outputs - 1 then
            index <= 0;
            state <= empty;
          else
            index <= index + 1;
            state <= fetch;
          end if;
        end if;
      end if;
      if rst = '1' then
        state <= empty;
        index <= 0;
      end if;
    end if;
  end process;

end architecture;
