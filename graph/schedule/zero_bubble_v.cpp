// ZB-V (Qi et al., arXiv 2401.10241, section 6): two stages a rank in a V, so that the last stage
// ends where the first one is, and no bubble within a rank where F, I and W take as long.
#include <algorithm>

#include "graph/schedule/kinds.hpp"

namespace sluice::graph {
namespace {

// Appends passes of one chunk with counters of their own, and drops what is beyond the last
// micro-batch: with fewer than 2P - 1 the schedule is that of 2P - 1 with gaps.
class Writer {
 public:
  explicit Writer(std::int32_t micro_batches) : micro_batches_(micro_batches) {}
  void add(PassKind kind, std::int32_t chunk) {
    std::int32_t& next = next_[static_cast<std::size_t>(kind)][static_cast<std::size_t>(chunk)];
    if (next < micro_batches_) program_.push_back(Pass{kind, chunk, next});
    ++next;
  }
  void backward(std::int32_t chunk) {
    add(PassKind::kBackwardInput, chunk);
    add(PassKind::kBackwardWeight, chunk);
  }
  [[nodiscard]] std::int32_t count(PassKind kind, std::int32_t chunk) const {
    return next_[static_cast<std::size_t>(kind)][static_cast<std::size_t>(chunk)];
  }
  Program take() { return std::move(program_); }

 private:
  std::int32_t micro_batches_;
  std::array<std::array<std::int32_t, 2>, 4> next_{};
  Program program_;
};

Program zero_bubble_v_program(ScheduleSize size, std::int32_t rank) {
  const std::int32_t total = std::max(2 * size.ranks - 1, size.micro_batches);
  const std::int32_t to_last = size.ranks - rank;
  Writer out(size.micro_batches);
  // Fill the way down and back up.
  for (std::int32_t i = 0; i < 2 * to_last - 1; ++i) out.add(PassKind::kForward, 0);
  for (std::int32_t i = 0; i < rank; ++i) {
    out.add(PassKind::kForward, 1);
    out.add(PassKind::kForward, 0);
  }
  for (std::int32_t i = 0; i < to_last; ++i) {
    out.add(PassKind::kForward, 1);
    out.backward(1);
  }
  // F, I and W of both chunks in turn.
  while (out.count(PassKind::kForward, 1) < total) {
    if (out.count(PassKind::kForward, 0) < total) out.add(PassKind::kForward, 0);
    out.backward(0);
    out.add(PassKind::kForward, 1);
    out.backward(1);
  }
  // Input gradients hurry back; weight gradients fill the end.
  for (std::int32_t i = 0; i < rank; ++i) {
    out.add(PassKind::kBackwardInput, 0);
    out.add(PassKind::kBackwardInput, 1);
  }
  for (std::int32_t i = 0; i < to_last; ++i) out.backward(0);
  for (const std::int32_t chunk : {1, 0}) {
    while (out.count(PassKind::kBackwardWeight, chunk) < total) {
      out.add(PassKind::kBackwardWeight, chunk);
    }
  }
  return out.take();
}

}  // namespace

ScheduleKind zero_bubble_v() {
  ScheduleKind kind;
  kind.name = "zbv";
  kind.about = "two stages a rank in a V, weight gradients apart: no bubble where F = I = W";
  kind.stages_per_rank_min = kind.stages_per_rank_max = kind.stages_per_rank_default = 2;
  kind.refusal = [](ScheduleSize) { return std::string(); };
  kind.placement = [](ScheduleSize size) {
    return Placement::v_shape(size.ranks, size.micro_batches);
  };
  kind.program = zero_bubble_v_program;
  kind.published = [](ScheduleSize size, const PassTimes&) {
    return Published{"0 between the first and the last pass where F = I = W", std::nullopt, "2P",
                     2 * size.ranks};
  };
  return kind;
}

}  // namespace sluice::graph
