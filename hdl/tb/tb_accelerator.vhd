-- Feeds every window of stimuli.txt to the accelerator and compares every result with expected.txt.
--
-- Both files hold one integer per line, in the order of the ports. Ends with a line "checked N results" or stops at the
-- first difference. With seed = 0 nothing is stalled and the clocks of the first window are compared with `latency`, the
-- distance of the last two windows with `interval`; with another seed both streams pause at random.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use ieee.math_real.all;

use std.env.finish;
use std.textio.all;

use work.design_pkg.all;

entity tb_accelerator is
  generic (
    seed : natural := 0
  );
end entity;

architecture test of tb_accelerator is

  signal clk : std_ulogic := '0';
  signal rst : std_ulogic := '1';
  signal in_ready, in_valid, out_ready, out_valid : std_ulogic := '0';
  signal in_data : std_ulogic_vector(input_bits - 1 downto 0) := (others => '0');
  signal out_data : std_ulogic_vector(result_bits - 1 downto 0);
  signal clocks : natural := 0;
  signal first_accepted : natural := 0;

  procedure draw(variable seed_1, seed_2 : inout positive; variable pause : out boolean) is
    variable number : real;
  begin
    pause := false;
    if seed > 0 then
      uniform(seed_1, seed_2, number);
      pause := number < 0.4;
    end if;
  end procedure;

begin

  clk <= not clk after 5 ns;

  count : process (clk)
  begin
    if rising_edge(clk) then
      clocks <= clocks + 1;
    end if;
  end process;

  dut : entity work.accelerator
    port map (
      clk => clk,
      rst => rst,
      in_ready => in_ready,
      in_valid => in_valid,
      in_data => in_data,
      out_ready => out_ready,
      out_valid => out_valid,
      out_data => out_data
    );

  feed : process
    file stimuli : text open read_mode is "stimuli.txt";
    variable row : line;
    variable code : integer;
    variable seed_1 : positive := seed + 1;
    variable seed_2 : positive := 7;
    variable pause : boolean;
    variable begun : boolean := false;
  begin
    for index in 1 to 4 loop
      wait until rising_edge(clk);
    end loop;
    rst <= '0';
    wait until rising_edge(clk);
    while not endfile(stimuli) loop
      readline(stimuli, row);
      read(row, code);
      draw(seed_1, seed_2, pause);
      while pause loop
        in_valid <= '0';
        wait until rising_edge(clk);
        draw(seed_1, seed_2, pause);
      end loop;
      in_valid <= '1';
      in_data <= std_ulogic_vector(to_signed(code, input_bits));
      wait until rising_edge(clk) and in_ready = '1';
      if not begun then
        begun := true;
        first_accepted <= clocks;
      end if;
    end loop;
    in_valid <= '0';
    wait;
  end process;

  check : process
    file expected : text open read_mode is "expected.txt";
    variable row : line;
    variable result : integer;
    variable checked : natural := 0;
    variable seed_1 : positive := seed + 1;
    variable seed_2 : positive := 11;
    variable pause : boolean;
    variable first_clocks, last_clocks, before_clocks : natural := 0;
  begin
    wait until rst = '0';
    while not endfile(expected) loop
      readline(expected, row);
      read(row, result);
      draw(seed_1, seed_2, pause);
      while pause loop
        out_ready <= '0';
        wait until rising_edge(clk);
        draw(seed_1, seed_2, pause);
      end loop;
      out_ready <= '1';
      wait until rising_edge(clk) and out_valid = '1';
      assert to_integer(signed(out_data)) = result
        report "result " & to_string(checked) & " is " & to_string(to_integer(signed(out_data)))
          & ", expected " & to_string(result)
        severity failure;
      checked := checked + 1;
      if checked mod outputs = 0 then
        before_clocks := last_clocks;
        last_clocks := clocks;
        if checked = outputs then
          first_clocks := clocks - first_accepted + 1;
        end if;
      end if;
    end loop;
    if seed = 0 then
      report "latency " & to_string(first_clocks) & " clocks" severity note;
      assert first_clocks = latency
        report "latency is " & to_string(first_clocks) & " clocks, scheduled " & to_string(latency)
        severity failure;
      if checked > 2 * outputs then
        report "interval " & to_string(last_clocks - before_clocks) & " clocks" severity note;
        assert last_clocks - before_clocks = interval
          report "interval is " & to_string(last_clocks - before_clocks) & " clocks, scheduled " & to_string(interval)
          severity failure;
      end if;
    end if;
    report "checked " & to_string(checked) & " results" severity note;
    finish;
  end process;

  watchdog : process
  begin
    wait until rising_edge(clk) and out_valid = '1' for 10 ns * (20 * latency + 1000);
    assert out_valid = '1'
      report "no result within " & to_string(20 * latency + 1000) & " clocks"
      severity failure;
  end process;

end architecture;
