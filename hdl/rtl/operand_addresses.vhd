-- The address of every store that holds operands: an address reaches only the store that is asked.
--
-- The others stay at 0, which is always legal. `issue` asks the broadcast store for K and V; `retire` asks it for a
-- residual and comes first, but the schedule lets the two never ask at once.
--
-- Twin:    tests/hdl/entity_twins.py, operand_addresses.
-- Clocks:  none, every output is a function of the inputs.
-- Widths:  an address is cut to the words of its store; qtlib.hardware.store_addresses lays out none beyond them.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity operand_addresses is
  generic (
    address_width : positive range 1 to 32; -- bits of an address in the microprogram
    input_depth : positive; -- words of each store
    activation_depth : positive; -- words of a bank of the activation store
    exponential_depth : positive; -- words of the exponential store
    weight_depth : positive; -- memory words of the weight store
    head_depth : positive; -- words of the head store
    broadcast_depth : positive -- words of a bank of the broadcast store
  );
  port (
    valid : in std_ulogic;
    x_source : in x_source_t;
    x_address : in unsigned(address_width - 1 downto 0);
    w_source : in w_source_t;
    w_address : in unsigned(address_width - 1 downto 0);

    stream_valid : in std_ulogic; -- the broadcast store is read for a residual
    stream_address : in unsigned(address_width - 1 downto 0);

    input_address : out unsigned(address_bits(input_depth) - 1 downto 0);
    activation_address : out unsigned(address_bits(activation_depth) - 1 downto 0);
    exponential_address : out unsigned(address_bits(exponential_depth) - 1 downto 0);
    weight_address : out unsigned(address_bits(weight_depth) - 1 downto 0);
    head_address : out unsigned(address_bits(head_depth) - 1 downto 0);
    broadcast_address : out unsigned(address_bits(broadcast_depth) - 1 downto 0)
  );
end entity;

architecture rtl of operand_addresses is
begin

  input_address <=
    resize(x_address, input_address'length) when valid = '1' and x_source = input_store else (others => '0');
  activation_address <=
    resize(x_address, activation_address'length) when valid = '1' and x_source = activation_store else (others => '0');
  exponential_address <=
    resize(x_address, exponential_address'length) when valid = '1' and x_source = exponential_store else
    (others => '0');

  weight_address <=
    resize(w_address, weight_address'length) when valid = '1' and w_source = weight_rom else (others => '0');
  head_address <=
    resize(w_address, head_address'length) when valid = '1' and w_source = head_rom else (others => '0');
  broadcast_address <=
    resize(stream_address, broadcast_address'length) when stream_valid = '1' else
    resize(w_address, broadcast_address'length) when valid = '1' and (w_source = keys or w_source = values_t) else
    (others => '0');

end architecture;
