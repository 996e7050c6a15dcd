-- The two stores of activations, in `unroll` banks: feature f of all lanes is a word of bank f mod unroll.
--
-- The activation store is read as the lane operand, the broadcast store as K, V or residual stream; what is wanted as
-- both is written to both. All banks are read at once; `retire` writes one of them, feature after feature.
--
-- Twin:    tests/hdl/entity_twins.py, activation_stores.
-- Clocks:  words follow their address by one; a word written at an edge is read by an address after that edge.
-- Widths:  codes of activation_bits and broadcast_bits, the widest that each store holds.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity activation_stores is
  generic (
    lane_count : positive range 1 to 256; -- codes in a word
    unroll : positive range 1 to 256; -- banks
    activation_bits : positive range 2 to 32; -- of a code in the activation store
    activation_depth : positive; -- words of a bank of it
    activation_memory : string := "auto"; -- auto | block | distributed
    broadcast_bits : positive range 2 to 32; -- of a code in the broadcast store
    broadcast_depth : positive; -- words of a bank of it
    broadcast_memory : string := "auto" -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;

    write_bank : in natural range 0 to larger(unroll, 2) - 1; -- of both stores

    activation_valid : in std_ulogic;
    activation_write : in unsigned(address_bits(activation_depth) - 1 downto 0);
    activation_data : in std_ulogic_vector(lane_count * activation_bits - 1 downto 0);

    broadcast_valid : in std_ulogic;
    broadcast_write : in unsigned(address_bits(broadcast_depth) - 1 downto 0);
    broadcast_data : in std_ulogic_vector(lane_count * broadcast_bits - 1 downto 0);

    activation_address : in unsigned(address_bits(activation_depth) - 1 downto 0);
    activation_words : out std_ulogic_vector(unroll * lane_count * activation_bits - 1 downto 0); -- of all banks

    broadcast_address : in unsigned(address_bits(broadcast_depth) - 1 downto 0);
    broadcast_words : out std_ulogic_vector(unroll * lane_count * broadcast_bits - 1 downto 0)
  );
end entity;

architecture rtl of activation_stores is

  constant activation_word : positive := lane_count * activation_bits;
  constant broadcast_word : positive := lane_count * broadcast_bits;

begin

  banks : for u in 0 to unroll - 1 generate
    signal write_activation, write_broadcast : std_ulogic;
  begin
    write_activation <= activation_valid when write_bank = u else '0';
    write_broadcast <= broadcast_valid when write_bank = u else '0';

    activations : entity work.ram
      generic map (width => activation_word, depth => activation_depth, memory_type => activation_memory)
      port map (
        clk => clk,
        write_valid => write_activation,
        write_address => activation_write,
        write_data => activation_data,
        read_address => activation_address,
        read_data => activation_words((u + 1) * activation_word - 1 downto u * activation_word)
      );

    broadcasts : entity work.ram
      generic map (width => broadcast_word, depth => broadcast_depth, memory_type => broadcast_memory)
      port map (
        clk => clk,
        write_valid => write_broadcast,
        write_address => broadcast_write,
        write_data => broadcast_data,
        read_address => broadcast_address,
        read_data => broadcast_words((u + 1) * broadcast_word - 1 downto u * broadcast_word)
      );
  end generate;

end architecture;
