// Schedules that people bring: CSV files of torch.distributed.pipelining.
#pragma once

#include <filesystem>

#include "graph/schedule/csv.hpp"

namespace sluice::config {

/// A file that cannot be read or is no sound schedule is an error that names it.
[[nodiscard]] Result<graph::CsvSchedule> read_schedule(const std::filesystem::path& path);

}  // namespace sluice::config
