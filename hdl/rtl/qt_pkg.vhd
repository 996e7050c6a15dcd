-- Types that the engine's entities and the emitted constants share. The Python twin is qtlib/hardware/microprogram.py.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

package qt_pkg is

  type words_t is array (natural range <>) of std_ulogic_vector; -- contents of a ROM

  subtype count_t is natural range 0 to 2 ** 20 - 1;

  type x_source_t is (input_store, activation_store, exponential_store); -- operand of the lanes
  -- Broadcast operand; centre: d - 1 for the term that is the output itself, else -1, which subtracts the mean d times.
  type w_source_t is (weight_rom, head_rom, keys, values_t, centre);
  type residual_t is (none, stream, position);

  -- One operation, as the issuing side sees it.
  type issue_t is record
    x_source : x_source_t;
    w_source : w_source_t;
    x_base : count_t; -- address of the first lane operand
    w_base : count_t; -- address of the first weight's memory word, or of the first word of K or V
    last_place : count_t; -- of weights in a memory word
    packing : count_t; -- how a memory word holds its weights
    last_term : count_t; -- of a sum
    last_clock : count_t; -- of a sum: the last term's or later
    last_step : count_t; -- a step is a group of `unroll` outputs
    hold : count_t; -- clocks to wait before the first term
    fill : boolean; -- writes results: wait until the last ones are unloaded
  end record;

  -- The same operation, as the retiring side sees it.
  type retire_t is record
    last_step : count_t;
    parameter_base : count_t; -- address of the first multiplier, residual multiplier and offset
    parameter_shared : boolean; -- one word for all outputs
    row_multiplier : boolean; -- multiply by the reciprocal of the token's row sum, or of its root
    residual : residual_t;
    residual_base : count_t;
    write_activations : boolean;
    activation_base : count_t;
    write_broadcast : boolean;
    broadcast_base : count_t;
    write_scores : boolean;
    write_sums : boolean; -- to the statistics of a LayerNorm
    table : count_t; -- of exponentials, for these scores
    write_results : boolean;
    shift : count_t; -- indices into the lists of distinct formats
    residual_shift : count_t;
    width : count_t;
  end record;

  type issue_program_t is array (natural range <>) of issue_t;
  type retire_program_t is array (natural range <>) of retire_t;

  -- Bits of an address into `depth` words; one at least.
  function address_bits(depth : positive) return positive;

  function larger(a, b : integer) return integer;

  -- Largest element of a list.
  function largest(list : integer_vector) return integer;

  function smallest(list : integer_vector) return integer;

end package;

package body qt_pkg is

  function address_bits(depth : positive) return positive is
    variable bits : positive := 1;
  begin
    while 2 ** bits < depth loop
      bits := bits + 1;
    end loop;
    return bits;
  end function;

  function larger(a, b : integer) return integer is
  begin
    if a > b then
      return a;
    end if;
    return b;
  end function;

  function largest(list : integer_vector) return integer is
    variable best : integer := list(list'left);
  begin
    for index in list'range loop
      best := larger(best, list(index));
    end loop;
    return best;
  end function;

  function smallest(list : integer_vector) return integer is
    variable best : integer := list(list'left);
  begin
    for index in list'range loop
      if list(index) < best then
        best := list(index);
      end if;
    end loop;
    return best;
  end function;

end package body;
