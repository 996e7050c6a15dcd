// Streams windows of stimuli.txt through the accelerator that Verilator built and compares every result with expected.txt.
//
//   accelerator SEED CODES RESULTS FIRST COUNT
//
// CODES and RESULTS are those of one window; windows FIRST to FIRST + COUNT - 1 are sent. With SEED 0 nothing is stalled; with
// another both streams pause at random. The outcome is one line of words; exit status 1 means that no result came.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "Vaccelerator.h"
#include "verilated.h"

static std::vector<int64_t> read_lines(const char *name, size_t skip, size_t count) {
  std::ifstream file(name);
  std::vector<int64_t> values;
  int64_t value;
  while (values.size() < skip + count && file >> value) values.push_back(value);
  if (values.size() < skip + count) {
    std::printf("%s ends after %zu lines\n", name, values.size());
    std::exit(1);
  }
  values.erase(values.begin(), values.begin() + skip);
  return values;
}

static uint64_t state;

// xorshift64* (Vigna 2016, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
static bool stalled() {
  if (!state) return false;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return ((state * 2685821657736338717ULL) >> 40) % 10 < 4;
}

int main(int count, char **words) {
  if (count != 6) return 2;
  state = std::strtoull(words[1], nullptr, 10);
  const size_t codes = std::strtoull(words[2], nullptr, 10), results = std::strtoull(words[3], nullptr, 10);
  const size_t first = std::strtoull(words[4], nullptr, 10), windows = std::strtoull(words[5], nullptr, 10);
  const auto stimuli = read_lines("stimuli.txt", first * codes, windows * codes);
  const auto expected = read_lines("expected.txt", first * results, windows * results);

  Vaccelerator dut;
  uint64_t clock = 0, quiet = 0, begun = 0, ended = 0, before = 0, latency = 0;
  size_t sent = 0, checked = 0, mismatches = 0;
  bool offered = false;
  dut.clk = 0;
  dut.rst = 1;
  while (checked < expected.size()) {
    dut.rst = clock < 4;
    // A code that was offered stays until it is taken.
    offered = sent < stimuli.size() && (offered || !stalled());
    dut.in_valid = offered && !dut.rst;
    if (sent < stimuli.size()) dut.in_data = stimuli[sent] & ((1ULL << INPUT_BITS) - 1);
    dut.out_ready = !stalled();
    dut.clk = 0;
    dut.eval();
    const bool taken = dut.in_valid && dut.in_ready, given = !dut.rst && dut.out_valid && dut.out_ready;
    if (taken) {
      if (!sent) begun = clock;
      ++sent;
      offered = false;
    }
    if (given) {
      const int64_t found = int64_t(uint64_t(dut.out_data) << (64 - RESULT_BITS)) >> (64 - RESULT_BITS);
      if (found != expected[checked] && !mismatches++)
        std::printf("result %zu of window %zu is %lld, expected %lld\n", checked % results, first + checked / results,
                    (long long)found, (long long)expected[checked]);
      if (++checked % results == 0) {
        before = ended;
        ended = clock;
        if (checked == results) latency = clock - begun + 1;
      }
    }
    quiet = given ? 0 : quiet + 1;
    if (quiet > LIMIT) {
      std::printf("no result within %llu clocks after result %zu\n", (unsigned long long)LIMIT, checked);
      return 1;
    }
    dut.clk = 1;
    dut.eval();
    ++clock;
  }
  dut.final();
  std::printf("checked %zu results, %zu mismatches, latency %llu, interval %llu, clocks %llu\n", checked, mismatches,
              (unsigned long long)latency, (unsigned long long)(ended - before), (unsigned long long)clock);
  return 0;
}
