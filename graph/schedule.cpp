// gpipe, 1F1B and forward-only programs.
#include "graph/schedule.hpp"

#include <algorithm>

namespace sluice::graph {
namespace {

void forward(Program& program, std::int32_t micro_batch) {
  program.push_back({PassKind::kForward, micro_batch});
}
void backward(Program& program, std::int32_t micro_batch) {
  program.push_back({PassKind::kBackward, micro_batch});
}

}  // namespace

std::vector<Program> schedule_gpipe(ScheduleOptions options) {
  Program program;
  for (std::int32_t m = 0; m < options.micro_batches; ++m) forward(program, m);
  for (std::int32_t m = 0; m < options.micro_batches; ++m) backward(program, m);
  return std::vector<Program>(static_cast<std::size_t>(options.stages), program);
}

std::vector<Program> schedule_1f1b(ScheduleOptions options) {
  std::vector<Program> programs(static_cast<std::size_t>(options.stages));
  for (std::int32_t rank = 0; rank < options.stages; ++rank) {
    Program& program = programs[static_cast<std::size_t>(rank)];
    const std::int32_t warm_up = std::min(options.stages - 1 - rank, options.micro_batches);
    for (std::int32_t m = 0; m < warm_up; ++m) forward(program, m);
    for (std::int32_t m = warm_up; m < options.micro_batches; ++m) {
      forward(program, m);
      backward(program, m - warm_up);
    }
    for (std::int32_t m = options.micro_batches - warm_up; m < options.micro_batches; ++m) {
      backward(program, m);
    }
  }
  return programs;
}

std::vector<Program> schedule_forward(ScheduleOptions options) {
  Program program;
  for (std::int32_t m = 0; m < options.micro_batches; ++m) forward(program, m);
  return std::vector<Program>(static_cast<std::size_t>(options.stages), program);
}

Result<std::vector<Program>> make_schedule(std::string_view name, ScheduleOptions options) {
  if (name == "gpipe") return schedule_gpipe(options);
  if (name == "1f1b") return schedule_1f1b(options);
  return invalid_input("schedule.name: there is no schedule \"{}\"; use gpipe or 1f1b", name);
}

std::int32_t live_activations_max(const Program& program) {
  std::int32_t live = 0;
  std::int32_t most = 0;
  for (const Pass& pass : program) {
    live += pass.kind == PassKind::kForward ? 1 : -1;
    most = std::max(most, live);
  }
  return most;
}

std::string to_string(const Program& program, std::int32_t stage) {
  std::string out;
  for (const Pass& pass : program) {
    const char kind = pass.kind == PassKind::kForward ? 'F' : 'B';
    out += fmt::format("{}{}{}{}", out.empty() ? "" : " ", stage, kind, pass.micro_batch);
  }
  return out;
}

}  // namespace sluice::graph
