// Reads a schedule's file.
#include "runtime/config/schedule_file.hpp"

#include "runtime/store/file.hpp"

namespace sluice::config {

Result<graph::CsvSchedule> read_schedule(const std::filesystem::path& path) {
  constexpr std::uint64_t kBytesMax = std::uint64_t{256} << 20;
  SLUICE_ASSIGN(const std::string text, store::read_text(path, kBytesMax));
  return graph::parse_csv(text, path.string());
}

}  // namespace sluice::config
