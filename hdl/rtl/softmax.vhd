-- Exponentials of scores relative to their row maximum, and the reciprocal of each row's sum.
--
-- Scores arrive while the lanes compute them, `width` rows (a slice) of one key at a time; the maxima are kept on the
-- way in. After `start`, one slice after the other is read back key by key. This runs beside the lanes.
--
-- Twin:    qtlib.program.reference.softmax and qtlib.program.rounding.reciprocal.
-- Clocks:  key j of slice s is written to the exponential store s * larger(keys, 18) + j + 5 clocks after `start`, the
--          reciprocals of slice s 19 clocks after its last exponential (qtlib.hardware.pipeline).

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

use work.qt_pkg.all;

entity softmax is
  generic (
    keys : positive; -- scores of a row
    padded_keys : positive; -- keys that may be written; the surplus counts for nothing
    groups : positive; -- of tokens
    parts : positive; -- slices of a group
    width : positive; -- rows of a slice
    score_bits : positive; -- of a score
    exponential_bits : positive; -- of an exponential, unsigned
    total_bits : positive; -- of a row sum
    table_count : positive; -- of exponentials: one for each layer
    tables : words_t; -- exponentials by difference to the maximum, one table after the other
    score_memory : string := "auto"; -- auto | block | distributed
    table_memory : string := "auto" -- auto | block | distributed
  );
  port (
    clk : in std_ulogic;
    rst : in std_ulogic;

    score_valid : in std_ulogic;
    score_key : in unsigned(address_bits(padded_keys) - 1 downto 0);
    score_slice : in unsigned(address_bits(groups * parts) - 1 downto 0);
    score_data : in std_ulogic_vector(width * score_bits - 1 downto 0);

    start : in std_ulogic;
    start_table : in count_t;

    exponential_valid : out std_ulogic;
    exponential_address : out unsigned(address_bits(keys * groups) - 1 downto 0); -- key * groups + group
    exponential_part : out natural range 0 to larger(parts, 2) - 1;
    exponential_data : out std_ulogic_vector(width * exponential_bits - 1 downto 0);

    reciprocal_valid : out std_ulogic;
    reciprocal_slice : out unsigned(address_bits(groups * parts) - 1 downto 0);
    reciprocal_data : out std_ulogic_vector(width * 17 - 1 downto 0)
  );
end entity;

architecture rtl of softmax is

  constant period : positive := larger(keys, 18); -- the dividers need 18 clocks
  constant slices : positive := groups * parts;
  constant slice_bits : positive := address_bits(slices);
  constant key_bits : positive := address_bits(padded_keys);

  subtype slice_t is std_ulogic_vector(width * score_bits - 1 downto 0);
  type maxima_t is array (2 ** slice_bits - 1 downto 0) of slice_t;
  signal maxima : maxima_t;
  signal score_valid_1, first_key_1, passed_1, row_passed_1 : std_ulogic := '0';
  signal score_slice_1 : unsigned(slice_bits - 1 downto 0) := (others => '0');
  signal score_1, read_1, written_1, best_1, row_best : slice_t;

  signal running : std_ulogic := '0';
  signal table_index : natural range 0 to table_count - 1;
  signal clock : natural range 0 to period - 1;
  signal slice : unsigned(slice_bits - 1 downto 0);
  signal key : unsigned(key_bits - 1 downto 0);
  signal part : natural range 0 to parts - 1;
  signal group_index : natural range 0 to groups - 1;
  signal address : unsigned(address_bits(keys * groups) - 1 downto 0);

  signal write_address, read_address : unsigned(slice_bits + key_bits - 1 downto 0);
  signal scores, scores_1, row_maxima, row_maxima_1 : slice_t;

  signal valid_0, valid_1, valid_2, valid_3, valid_4 : std_ulogic := '0';
  signal last_1, last_2, last_3, last_4, last_5 : std_ulogic := '0';
  signal first_1, first_2, first_3, first_4 : std_ulogic := '0';
  type slices_t is array (1 to 5) of unsigned(slice_bits - 1 downto 0);
  signal slice_after : slices_t;
  type parts_t is array (1 to 4) of natural range 0 to parts - 1;
  signal part_after : parts_t;
  type addresses_t is array (1 to 4) of unsigned(address_bits(keys * groups) - 1 downto 0);
  signal address_after : addresses_t;
  signal dividing : unsigned(slice_bits - 1 downto 0);
  signal quotient_valid : std_ulogic_vector(width - 1 downto 0);

begin

  write_address <= score_key & score_slice;
  read_address <= key & slice;
  valid_0 <= '1' when running = '1' and clock < keys else '0';
  exponential_valid <= valid_4;
  exponential_address <= address_after(4);
  exponential_part <= part_after(4);
  reciprocal_valid <= quotient_valid(0);
  reciprocal_slice <= dividing;

  score_store : entity work.ram
    generic map (
      width => width * score_bits,
      depth => 2 ** (slice_bits + key_bits),
      memory_type => score_memory
    )
    port map (
      clk => clk,
      write_valid => score_valid,
      write_address => write_address,
      write_data => score_data,
      read_address => read_address,
      read_data => scores
    );

  -- A maximum is read one clock before it is compared, because memory, comparison and memory are too long for one. What was
  -- just compared is passed on where the same slice is asked for, behind the register: before it, Yosys takes the whole for a
  -- memory that shows what it is written, and registers the address instead.
  best_1 <= written_1 when passed_1 = '1' else read_1;

  compare : process (all)
  begin
    row_best <= best_1;
    for r in 0 to width - 1 loop
      if first_key_1 = '1'
        or signed(score_1((r + 1) * score_bits - 1 downto r * score_bits))
          > signed(best_1((r + 1) * score_bits - 1 downto r * score_bits))
      then
        row_best((r + 1) * score_bits - 1 downto r * score_bits) <= score_1((r + 1) * score_bits - 1 downto r * score_bits);
      end if;
    end loop;
  end process;

  row : process (clk)
  begin
    if rising_edge(clk) then
      score_valid_1 <= '0';
      if score_valid = '1' and to_integer(score_key) < keys then -- as integers: GHDL cuts keys to the width of score_key
        score_valid_1 <= not rst;
      end if;
      first_key_1 <= '0';
      if score_key = 0 then
        first_key_1 <= '1';
      end if;
      score_1 <= score_data;
      score_slice_1 <= score_slice;
      read_1 <= maxima(to_integer(score_slice));
      row_maxima <= maxima(to_integer(slice));
      written_1 <= row_best;
      passed_1 <= '0';
      row_passed_1 <= '0';
      if score_valid_1 = '1' then
        maxima(to_integer(score_slice_1)) <= row_best;
        if score_slice_1 = score_slice then
          passed_1 <= '1';
        end if;
        if score_slice_1 = slice then
          row_passed_1 <= '1';
        end if;
      end if;
      -- A register behind the memories: their output is slow.
      scores_1 <= scores;
      row_maxima_1 <= row_maxima;
      if row_passed_1 = '1' then
        row_maxima_1 <= written_1;
      end if;
    end if;
  end process;

  control : process (clk)
  begin
    if rising_edge(clk) then
      if running = '1' then
        if clock = period - 1 then
          clock <= 0;
          key <= (others => '0');
          if slice = slices - 1 then
            running <= '0';
          else
            slice <= slice + 1;
          end if;
          if part = parts - 1 then
            part <= 0;
            if group_index /= groups - 1 then
              group_index <= group_index + 1;
              address <= to_unsigned(group_index + 1, address'length);
            end if;
          else
            part <= part + 1;
            address <= to_unsigned(group_index, address'length);
          end if;
        else
          clock <= clock + 1;
          if key /= keys - 1 then
            key <= key + 1;
            address <= address + groups;
          end if;
        end if;
      elsif start = '1' then
        running <= '1';
        table_index <= start_table;
        clock <= 0;
        key <= (others => '0');
        slice <= (others => '0');
        part <= 0;
        group_index <= 0;
        address <= (others => '0');
      end if;

      valid_1 <= valid_0;
      valid_2 <= valid_1;
      valid_3 <= valid_2;
      valid_4 <= valid_3;
      first_1 <= '0';
      if clock = 0 then
        first_1 <= '1';
      end if;
      first_2 <= first_1;
      first_3 <= first_2;
      first_4 <= first_3;
      last_1 <= '0';
      if valid_0 = '1' and clock = keys - 1 then
        last_1 <= '1';
      end if;
      last_2 <= last_1;
      last_3 <= last_2;
      last_4 <= last_3;
      last_5 <= last_4;
      slice_after <= slice & slice_after(1 to 4);
      part_after <= part & part_after(1 to 3);
      address_after <= address & address_after(1 to 3);
      if last_5 = '1' then
        dividing <= slice_after(5);
      end if;

      if rst = '1' then
        running <= '0';
        table_index <= 0;
        clock <= 0;
        slice <= (others => '0');
        key <= (others => '0');
        address <= (others => '0');
        slice_after <= (others => (others => '0'));
        address_after <= (others => (others => '0'));
        dividing <= (others => '0');
        valid_1 <= '0';
        valid_2 <= '0';
        valid_3 <= '0';
        valid_4 <= '0';
        last_1 <= '0';
        last_2 <= '0';
        last_3 <= '0';
        last_4 <= '0';
        last_5 <= '0';
      end if;
    end if;
  end process;

  rows : for r in 0 to width - 1 generate
    signal difference : unsigned(score_bits - 1 downto 0) := (others => '0');
    signal entry : unsigned(address_bits(table_count * 2 ** score_bits) - 1 downto 0);
    signal exponential : std_ulogic_vector(exponential_bits - 1 downto 0);
    signal base, total : unsigned(total_bits - 1 downto 0);
    signal quotient : unsigned(16 downto 0);
  begin
    reciprocal_data((r + 1) * 17 - 1 downto r * 17) <= std_ulogic_vector(quotient);
    exponential_data((r + 1) * exponential_bits - 1 downto r * exponential_bits) <= exponential;
    base <= (others => '0') when first_4 = '1' else total;

    entry <= resize(to_unsigned(table_index, 8) & difference, address_bits(table_count * 2 ** score_bits));

    exponentials : entity work.rom
      generic map (
        width => exponential_bits,
        depth => table_count * 2 ** score_bits,
        contents => tables,
        memory_type => table_memory
      )
      port map (
        clk => clk,
        read_address => entry,
        read_data => exponential
      );

    process (clk)
    begin
      if rising_edge(clk) then
        if valid_2 = '1' then
          difference <= unsigned(row_maxima_1((r + 1) * score_bits - 1 downto r * score_bits))
            - unsigned(scores_1((r + 1) * score_bits - 1 downto r * score_bits));
        end if;
        if valid_4 = '1' then
          total <= base + resize(unsigned(exponential), total_bits);
        end if;
      end if;
    end process;

    reciprocal : entity work.divider
      generic map (
        exponential_bits => exponential_bits,
        total_bits => total_bits
      )
      port map (
        clk => clk,
        rst => rst,
        in_ready => open,
        in_valid => last_5,
        total => total,
        out_valid => quotient_valid(r),
        quotient => quotient
      );
  end generate;

end architecture;
