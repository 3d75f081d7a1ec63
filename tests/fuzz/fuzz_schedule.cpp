// Any text as a schedule's CSV; what is accepted must be sound, and write and read back to itself.
#include <cstdint>
#include <string_view>

#include "graph/schedule/csv.hpp"
#include "graph/schedule/timing.hpp"
#include "kernels/base/check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::graph;
  const auto read = parse_csv({reinterpret_cast<const char*>(data), size}, "fuzz.csv");
  if (!read) {
    SLUICE_CHECK(!read.error().message.empty());
    return 0;
  }
  const Schedule& schedule = read->schedule;
  SLUICE_CHECK(check_schedule(schedule).has_value());
  SLUICE_CHECK(time_schedule(schedule, {}).has_value());
  const auto again = parse_csv(to_csv(schedule), "again.csv");
  SLUICE_CHECK(again.has_value(), "{}", again.error().message);
  SLUICE_CHECK(again->notes.empty());
  SLUICE_CHECK(again->schedule.placement == schedule.placement);
  SLUICE_CHECK(again->schedule.programs == schedule.programs);
  return 0;
}
