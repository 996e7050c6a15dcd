-- Issues the terms of every sum, operation after operation: addresses of the lane operand and of the broadcast operand.
--
-- For each operation: for each step (`unroll` outputs), for each group of tokens, for each term.
--
-- Twin:    qtlib.hardware.clock_timeline.issued.
-- Clocks:  2 + hold before an operation, then steps * groups * period; the outputs are registers.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity issue is
  generic (
    program : issue_program_t; -- operations in their order, as this side sees them
    window : positive; -- tokens
    lanes : positive; -- tokens computed side by side
    unroll : positive; -- output features computed at once
    places : positive; -- of weights in a memory word
    packings : positive; -- ways in which a memory word holds weights
    address_width : positive; -- bits of an address in the microprogram
    count_width : positive -- bits of the counters of terms, clocks and steps
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    full : in std_ulogic; -- a window is loaded
    take : out std_ulogic := '0'; -- for one clock: its store is free again
    free : in std_ulogic; -- results may be written

    valid : out std_ulogic;
    first : out std_ulogic;
    last : out std_ulogic;
    x_source : out x_source_t;
    x_address : out unsigned(address_width - 1 downto 0);
    x_bank : out natural range 0 to larger(unroll, 2) - 1;
    w_source : out w_source_t;
    w_address : out unsigned(address_width - 1 downto 0);
    w_place : out natural range 0 to larger(places, 2) - 1;
    w_packing : out natural range 0 to larger(packings, 2) - 1;
    w_lane : out natural range 0 to larger(lanes, 2) - 1;
    diagonal : out std_ulogic -- centre: the term is an output of this step; its bank says which
  );
end entity;

architecture rtl of issue is

  constant groups : positive := (window + lanes - 1) / lanes;

  function centres return boolean is
  begin
    for index in program'range loop
      if program(index).w_source = centre then
        return true;
      end if;
    end loop;
    return false;
  end function;

  type state_t is (idle, fetch, setup, hold, run);
  signal state : state_t := idle;
  signal pc : natural range 0 to program'length - 1 := 0;
  signal now : issue_t;

  -- Counted down, because comparing with 0 is short.
  subtype counter_t is natural range 0 to 2 ** count_width - 1;
  signal held, terms_left, clocks_left, steps_left : counter_t;
  signal term_valid, term_first : std_ulogic := '0';
  signal group_index : natural range 0 to groups - 1;

  signal x, x_start, w, w_start : unsigned(address_width - 1 downto 0);
  signal place, place_start : natural range 0 to larger(places, 2) - 1;
  signal bank : natural range 0 to unroll - 1;
  signal block_index, step_index : counter_t; -- of centre only
  signal lane, lane_start : natural range 0 to lanes - 1;

begin

  valid <= term_valid; -- a register, because every memory's address waits for it
  first <= term_first;
  last <= '1' when terms_left = 0 else '0';
  x_source <= now.x_source;
  x_address <= x;
  x_bank <= bank;
  w_source <= now.w_source;
  w_address <= w;
  w_place <= place;
  w_packing <= now.packing;
  w_lane <= lane;

  -- Without a LayerNorm there is no centre, and the counters are not built.
  with_centre : if centres generate
    diagonal <= '1' when now.w_source = centre and block_index = step_index else '0';

    count : process (clk)
    begin
      if rising_edge(clk) then
        if state /= run then
          block_index <= 0;
          step_index <= 0;
        elsif clocks_left = 0 then
          block_index <= 0;
          if group_index = groups - 1 and steps_left /= 0 then
            step_index <= step_index + 1;
          end if;
        elsif terms_left /= 0 and bank = unroll - 1 then
          block_index <= block_index + 1;
        end if;
      end if;
    end process;
  end generate;

  without_centre : if not centres generate
    diagonal <= '0';
  end generate;

  process (clk)
  begin
    if rising_edge(clk) then
      take <= '0';
      if state = idle then
        pc <= 0;
        if full = '1' and take = '0' then
          state <= fetch;
        end if;

      elsif state = fetch then
        now <= program(pc);
        place <= 0; -- together with its packing: there is no place behind the last one
        place_start <= 0;
        state <= setup;

      elsif state = setup then
        term_first <= '1';
        terms_left <= now.last_term;
        clocks_left <= now.last_clock;
        steps_left <= now.last_step;
        group_index <= 0;
        x <= to_unsigned(now.x_base, address_width);
        x_start <= to_unsigned(now.x_base, address_width);
        w <= to_unsigned(now.w_base, address_width);
        w_start <= to_unsigned(now.w_base, address_width);
        bank <= 0;
        lane <= 0;
        lane_start <= 0;
        held <= now.hold;
        if now.hold = 0 and (free = '1' or not now.fill) then
          state <= run;
          term_valid <= '1';
        else
          state <= hold;
        end if;

      elsif state = hold then
        if held > 1 then
          held <= held - 1;
        elsif free = '1' or not now.fill then
          state <= run;
          term_valid <= '1';
        end if;

      else
        -- The next sum, unless this one goes on.
        term_valid <= '1';
        term_first <= '1';
        terms_left <= now.last_term;
        clocks_left <= now.last_clock;
        bank <= 0;

        -- Within a sum: the next term.
        if clocks_left /= 0 then
          clocks_left <= clocks_left - 1;
          term_first <= '0';
          terms_left <= terms_left;
          bank <= bank;
          if terms_left = 0 then
            term_valid <= '0';
          else
            term_valid <= term_valid;
            terms_left <= terms_left - 1;
            if now.x_source /= activation_store or bank = unroll - 1 then
              bank <= 0;
              x <= x + groups;
            else
              bank <= bank + 1;
            end if;
            if now.w_source = weight_rom and place /= now.last_place then
              place <= place + 1;
            elsif now.w_source = weight_rom or now.w_source = head_rom then
              place <= 0;
              w <= w + 1;
            elsif now.w_source = keys then
              if bank = unroll - 1 then
                w <= w + groups;
              end if;
            elsif now.w_source = centre then
              lane <= 0; -- nothing is read
            elsif lane = lanes - 1 then
              lane <= 0;
              w <= w + 1;
            else
              lane <= lane + 1;
            end if;
          end if;

        -- The next group of tokens: the same broadcast operands again.
        elsif group_index /= groups - 1 then
          group_index <= group_index + 1;
          x <= x_start + 1;
          x_start <= x_start + 1;
          w <= w_start;
          place <= place_start;
          lane <= lane_start;

        -- The next outputs.
        elsif steps_left /= 0 then
          group_index <= 0;
          steps_left <= steps_left - 1;
          x <= to_unsigned(now.x_base, address_width);
          x_start <= to_unsigned(now.x_base, address_width);
          if now.w_source = weight_rom and place /= now.last_place then
            place <= place + 1;
            place_start <= place + 1;
            w_start <= w;
          elsif now.w_source = weight_rom or now.w_source = head_rom then
            place <= 0;
            place_start <= 0;
            w <= w + 1;
            w_start <= w + 1;
          elsif now.w_source = keys then
            if lane_start = lanes - unroll then
              lane <= 0;
              lane_start <= 0;
              w <= w_start + 1;
              w_start <= w_start + 1;
            else
              lane <= lane_start + unroll;
              lane_start <= lane_start + unroll;
              w <= w_start;
            end if;
          elsif now.w_source = centre then
            lane <= 0;
          else
            lane <= 0;
            w <= w_start + groups;
            w_start <= w_start + groups;
          end if;

        else
          term_valid <= '0';
          if pc = 0 then
            take <= '1';
          end if;
          if pc = program'length - 1 then
            state <= idle;
          else
            pc <= pc + 1;
            state <= fetch;
          end if;
        end if;
      end if;

      if rst = '1' then
        state <= idle;
        take <= '0';
        term_valid <= '0';
        place <= 0;
        bank <= 0;
        lane <= 0;
        x <= (others => '0');
        w <= (others => '0');
      end if;
    end if;
  end process;

end architecture;
