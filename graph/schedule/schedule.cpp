// The table of schedules, and what holds for all of them.
#include "graph/schedule/schedule.hpp"

#include <algorithm>
#include <set>

#include "graph/schedule/kinds.hpp"

namespace sluice::graph {
namespace {

constexpr MakeKind* kKinds[] = {
    gpipe,     one_forward_one_backward, interleaved, zero_bubble_one_pass, zero_bubble_v, dualpipe,
    dualpipe_v};

constexpr std::int32_t kRanksMax = 4096;
constexpr std::int32_t kMicroBatchesMax = 1 << 20;
constexpr std::int64_t kPassesMax = 1 << 24;  // F, B, I and W of all ranks

std::optional<ScheduleKind> find_kind(std::string_view name) {
  for (MakeKind* make : kKinds) {
    if (ScheduleKind kind = make(); kind.name == name) return kind;
  }
  return std::nullopt;
}

Result<ScheduleKind> find_kind_or_explain(std::string_view name) {
  if (auto kind = find_kind(name)) return *kind;
  return invalid_input("there is no schedule \"{:.100}\"; use {}", name,
                       fmt::join(schedule_names(), ", "));
}

// The limits of any schedule, then those of the kind. Fills in stages_per_rank.
Status check_size(const ScheduleKind& kind, ScheduleSize& size) {
  if (size.stages_per_rank == 0) size.stages_per_rank = kind.stages_per_rank_default;
  if (size.ranks < 1 || size.ranks > kRanksMax) {
    return invalid_input("{} on {} ranks: use 1 to {}", kind.name, size.ranks, kRanksMax);
  }
  if (size.micro_batches < 1 || size.micro_batches > kMicroBatchesMax) {
    return invalid_input("{} of {} micro-batches: use 1 to {}", kind.name, size.micro_batches,
                         kMicroBatchesMax);
  }
  if (size.stages_per_rank < kind.stages_per_rank_min ||
      size.stages_per_rank > kind.stages_per_rank_max) {
    const bool is_fixed = kind.stages_per_rank_min == kind.stages_per_rank_max;
    return invalid_input("{} with {} stages a rank: it holds {}{}", kind.name, size.stages_per_rank,
                         kind.stages_per_rank_min,
                         is_fixed ? "" : fmt::format(" to {}", kind.stages_per_rank_max));
  }
  const std::int64_t passes =
      std::int64_t{3} * size.ranks * size.stages_per_rank * size.micro_batches;
  if (passes > kPassesMax) {
    return invalid_input("{} of {} ranks and {} micro-batches has more than {} passes; use fewer",
                         kind.name, size.ranks, size.micro_batches, kPassesMax);
  }
  if (std::string refusal = kind.refusal(size); !refusal.empty()) {
    return invalid_input("{} {}", kind.name, refusal);
  }
  return {};
}

// What a rank's program has done so far for one chunk and micro-batch.
struct Done {
  bool forward = false, input = false, weight = false;
};

class RankCheck {
 public:
  RankCheck(const Schedule& schedule, std::int32_t rank)
      : placement_(schedule.placement),
        rank_(rank),
        program_(schedule.programs[static_cast<std::size_t>(rank)]) {
    for (const Placement::Chunk& chunk : placement_.chunks(rank)) {
      done_.emplace_back(static_cast<std::size_t>(micro_batches(chunk)));
    }
  }

  Status check() {
    for (const Action& action : program_) {
      for (const Pass& pass : action.passes()) {
        SLUICE_TRY(check_known(pass));
        SLUICE_TRY(check_order(pass));
      }
    }
    for (std::size_t c = 0; c < done_.size(); ++c) {
      for (std::size_t m = 0; m < done_[c].size(); ++m) {
        SLUICE_TRY(check_complete(static_cast<std::int32_t>(c), static_cast<std::int32_t>(m)));
      }
    }
    return {};
  }

 private:
  std::int32_t micro_batches(const Placement::Chunk& chunk) const {
    return placement_.routes()[static_cast<std::size_t>(chunk.route)].micro_batches;
  }
  std::string text(PassKind kind, std::int32_t chunk, std::int32_t micro_batch) const {
    return to_string(Pass{kind, chunk, micro_batch}, placement_, rank_);
  }
  std::string text(const Pass& pass) const { return to_string(pass, placement_, rank_); }

  Status check_known(const Pass& pass) const {
    const auto chunks = static_cast<std::int32_t>(placement_.chunks(rank_).size());
    if (pass.chunk < 0 || pass.chunk >= chunks) {
      return invalid_input("rank {} has no chunk {}", rank_, pass.chunk);
    }
    if (pass.micro_batch < 0 ||
        pass.micro_batch >= micro_batches(placement_.chunk(rank_, pass.chunk))) {
      return invalid_input("rank {}: {} is of a micro-batch that is not there", rank_, text(pass));
    }
    return {};
  }

  Status too_early(const Pass& pass, PassKind needed) const {
    return invalid_input("rank {}: {} comes before {}; a pass follows what it needs", rank_,
                         text(pass), text(needed, pass.chunk, pass.micro_batch));
  }
  Status twice(const Pass& pass) const {
    return invalid_input("rank {}: {} does again what was done; leave one out", rank_, text(pass));
  }

  Status check_order(const Pass& pass) {
    Done& done =
        done_[static_cast<std::size_t>(pass.chunk)][static_cast<std::size_t>(pass.micro_batch)];
    switch (pass.kind) {
      case PassKind::kForward:
        if (done.forward) return twice(pass);
        done.forward = true;
        return {};
      case PassKind::kBackward:
        if (!done.forward) return too_early(pass, PassKind::kForward);
        if (done.input || done.weight) return twice(pass);
        done.input = done.weight = true;
        return {};
      case PassKind::kBackwardInput:
        if (!done.forward) return too_early(pass, PassKind::kForward);
        if (done.input) return twice(pass);
        done.input = true;
        return {};
      case PassKind::kBackwardWeight:
        if (!done.input) return too_early(pass, PassKind::kBackwardInput);
        if (done.weight) return twice(pass);
        done.weight = true;
        return {};
    }
    return {};
  }

  Status check_complete(std::int32_t chunk, std::int32_t micro_batch) const {
    const Done& done =
        done_[static_cast<std::size_t>(chunk)][static_cast<std::size_t>(micro_batch)];
    if (done.weight) return {};
    const PassKind missing = !done.forward ? PassKind::kForward
                             : done.input  ? PassKind::kBackwardWeight
                                           : PassKind::kBackward;
    return invalid_input("rank {}: {} is missing", rank_, text(missing, chunk, micro_batch));
  }

  const Placement& placement_;
  std::int32_t rank_;
  const Program& program_;
  std::vector<std::vector<Done>> done_;  // by chunk and micro-batch
};

}  // namespace

Ticks PassTimes::of(PassKind kind) const {
  switch (kind) {
    case PassKind::kForward: return forward;
    case PassKind::kBackward: return backward;
    case PassKind::kBackwardInput: return backward_input;
    case PassKind::kBackwardWeight: return backward_weight;
  }
  return 0;
}
Ticks PassTimes::of(const Action& action) const {
  return action.is_pair() ? pair : of(action.passes().front().kind);
}

std::vector<std::string_view> schedule_names() {
  std::vector<std::string_view> names;
  for (MakeKind* make : kKinds) names.push_back(make().name);
  return names;
}

std::string_view schedule_about(std::string_view name) {
  const auto kind = find_kind(name);
  return kind ? kind->about : "";
}

Result<Schedule> make_schedule(std::string_view name, ScheduleSize size) {
  SLUICE_ASSIGN(const ScheduleKind kind, find_kind_or_explain(name));
  SLUICE_TRY(check_size(kind, size));
  Schedule out{std::string(name), kind.placement(size), {}};
  for (std::int32_t rank = 0; rank < size.ranks; ++rank) {
    out.programs.push_back(kind.program(size, rank));
  }
  return out;
}

std::optional<Published> published(std::string_view name, ScheduleSize size,
                                   const PassTimes& times) {
  auto kind = find_kind(name);
  if (!kind || !check_size(*kind, size)) return std::nullopt;
  Published out = kind->published(size, times);
  const bool is_two_ways = kind->placement(size).routes().size() == 2;
  const std::int32_t all = size.micro_batches * (is_two_ways ? 1 : size.stages_per_rank);
  out.activations = std::min(out.activations, all);
  return out;
}

Status check_schedule(const Schedule& schedule) {
  SLUICE_CHECK_EQ(static_cast<std::int32_t>(schedule.programs.size()), schedule.placement.ranks());
  for (std::int32_t rank = 0; rank < schedule.placement.ranks(); ++rank) {
    SLUICE_TRY(RankCheck(schedule, rank).check());
  }
  return {};
}

Program forward_program(const Placement& placement, std::int32_t rank) {
  std::vector<std::pair<std::int32_t, Pass>> timed;
  const auto& chunks = placement.chunks(rank);
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    const Placement::Chunk& chunk = chunks[c];
    const auto count = placement.routes()[static_cast<std::size_t>(chunk.route)].micro_batches;
    for (std::int32_t m = 0; m < count; ++m) {
      timed.push_back({chunk.stage + m, Pass{PassKind::kForward, static_cast<std::int32_t>(c), m}});
    }
  }
  std::stable_sort(timed.begin(), timed.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  Program out;
  for (const auto& [time, pass] : timed) out.push_back(pass);
  return out;
}

Schedule forward_schedule(const Placement& placement) {
  Schedule out{"forward", placement, {}};
  for (std::int32_t r = 0; r < placement.ranks(); ++r) {
    out.programs.push_back(forward_program(placement, r));
  }
  return out;
}

std::int32_t live_activations_max(const Program& program) {
  std::int32_t live = 0;
  std::int32_t most = 0;
  for (const Action& action : program) {
    for (const Pass& pass : action.passes()) {
      if (pass.kind == PassKind::kForward) most = std::max(most, ++live);
      if (pass.kind == PassKind::kBackward || pass.kind == PassKind::kBackwardWeight) --live;
    }
  }
  return most;
}

std::int64_t kept_activations_max(const Program& program, std::span<const std::int64_t> weight) {
  struct Chunk {
    std::int32_t next = 0;  // micro-batch whose weight gradients are to be added next
    std::set<std::int32_t> waiting;
  };
  std::vector<Chunk> chunks(weight.size());
  std::int64_t kept = 0;
  std::int64_t most = 0;
  for (const Action& action : program) {
    for (const Pass& pass : action.passes()) {
      const auto c = static_cast<std::size_t>(pass.chunk);
      if (pass.kind == PassKind::kForward) most = std::max(most, kept += weight[c]);
      if (pass.kind != PassKind::kBackward && pass.kind != PassKind::kBackwardWeight) continue;
      Chunk& chunk = chunks[c];
      chunk.waiting.insert(pass.micro_batch);
      for (; chunk.waiting.erase(chunk.next) == 1; ++chunk.next) kept -= weight[c];
    }
  }
  return most;
}

bool weights_in_order(const Program& program, std::int32_t chunk) {
  std::int32_t next = 0;
  for (const Action& action : program) {
    for (const Pass& pass : action.passes()) {
      if (pass.chunk != chunk) continue;
      if (pass.kind != PassKind::kBackward && pass.kind != PassKind::kBackwardWeight) continue;
      if (pass.micro_batch != next++) return false;
    }
  }
  return true;
}

std::string to_string(const Pass& pass, const Placement& placement, std::int32_t rank) {
  const Placement::Chunk chunk = placement.chunk(rank, pass.chunk);
  return fmt::format("{}{}{}", chunk.stage, letter_of(pass.kind),
                     placement.micro_batch_first(chunk.route) + pass.micro_batch);
}

std::string to_string(const Action& action, const Placement& placement, std::int32_t rank) {
  const auto passes = action.passes();
  const std::string first = to_string(passes.front(), placement, rank);
  if (!action.is_pair()) return first;
  return fmt::format("({};{})OVERLAP_F_B", first, to_string(passes.back(), placement, rank));
}

std::string to_string(const Program& program, const Placement& placement, std::int32_t rank) {
  std::string out;
  for (const Action& action : program) {
    out += (out.empty() ? "" : " ") + to_string(action, placement, rank);
  }
  return out;
}

}  // namespace sluice::graph
