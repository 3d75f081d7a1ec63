// Schedules as the CSV of torch.distributed.pipelining: a row a rank, a cell an action, an empty
// cell a step in which the rank waits.
//
//   2F0 1B3 1I3 1W3          stage, pass, micro-batch of the step
//   (0F3;7B1)OVERLAP_F_B     a pair
//   1SEND_F3 0UNSHARD ...    transfers and sharding that PyTorch's lowered form adds: read over, as
//                            they follow from the passes
//
// What PyTorch cannot say, Sluice does: a stage on several rows, each for micro-batches of its own
// (dualpipe). It reads that back as routes.
#pragma once

#include "graph/schedule/schedule.hpp"

namespace sluice::graph {

struct CsvSchedule {
  Schedule schedule;
  std::vector<std::string> notes;  ///< what was read otherwise than it was written, for the user
};

/// A schedule that is complete and does not get stuck. `name` becomes the schedule's and stands for
/// the file in messages, "name:line:cell: what; next step".
[[nodiscard]] Result<CsvSchedule> parse_csv(std::string_view text, std::string_view name);

/// What parse_csv() reads back to the same placement and programs. Cells are columns of the time in
/// which every action takes one step.
[[nodiscard]] std::string to_csv(const Schedule& schedule);

}  // namespace sluice::graph
