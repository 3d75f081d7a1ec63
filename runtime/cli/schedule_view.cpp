// Words about a schedule, and its JSON.
#include "runtime/cli/schedule_view.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice {

using graph::Pass;
using graph::PassKind;
using nlohmann::ordered_json;

namespace {

ordered_json number(graph::Ticks ticks) {
  if (ticks % kTicksPerUnit == 0) return ticks / kTicksPerUnit;
  return static_cast<double>(ticks) / static_cast<double>(kTicksPerUnit);
}

// The stage goes without saying where direction tells the chunks of every rank apart.
bool directions_tell_stages(const graph::Placement& placement) {
  for (std::int32_t rank = 0; rank < placement.ranks(); ++rank) {
    std::array<int, 2> chunks{};
    for (const auto& chunk : placement.chunks(rank)) {
      if (++chunks[static_cast<std::size_t>(chunk.direction)] > 1) return false;
    }
  }
  return true;
}

class ProgramJson {
 public:
  explicit ProgramJson(const graph::Placement& placement)
      : placement_(placement), with_stage_(!directions_tell_stages(placement)) {}

  ordered_json of(const graph::Program& program, std::int32_t rank) const {
    ordered_json out = ordered_json::array();
    for (const graph::Action& action : program) {
      const auto passes = action.passes();
      if (action.is_pair()) {
        out.push_back({{"kind", "FB"},
                       {"forward", place(passes[0], rank)},
                       {"backward", place(passes[1], rank)}});
        continue;
      }
      ordered_json one = {{"kind", std::string(1, graph::letter_of(passes[0].kind))}};
      one.update(place(passes[0], rank));
      out.push_back(std::move(one));
    }
    return out;
  }

 private:
  ordered_json place(const Pass& pass, std::int32_t rank) const {
    const graph::Placement::Chunk chunk = placement_.chunk(rank, pass.chunk);
    ordered_json out = {{"micro_batch", pass.micro_batch}, {"direction", chunk.direction}};
    if (with_stage_) out["stage"] = chunk.stage;
    return out;
  }

  const graph::Placement& placement_;
  bool with_stage_;
};

// Whether some program has an action of the kind; a pair counts for "FB" alone.
bool has(const ScheduleView& view, std::optional<PassKind> kind) {
  for (const graph::Program& program : view.schedule.programs) {
    for (const graph::Action& action : program) {
      if (kind ? !action.is_pair() && action.passes().front().kind == *kind : action.is_pair()) {
        return true;
      }
    }
  }
  return false;
}

std::string on_ranks(graph::Ticks least, graph::Ticks most) {
  if (least == most) return units_text(most);
  return fmt::format("{} to {}", units_text(least), units_text(most));
}

}  // namespace

std::string units_text(graph::Ticks ticks) {
  std::string out = fmt::format("{}.{:06}", ticks / kTicksPerUnit, std::abs(ticks % kTicksPerUnit));
  if (ticks < 0 && ticks > -kTicksPerUnit) out.insert(out.begin(), '-');
  out.erase(out.find_last_not_of('0') + 1);
  if (out.back() == '.') out.pop_back();
  return out;
}

std::string stages_text(const ScheduleView& view, std::int32_t rank) {
  std::string out;
  const auto& chunks = view.schedule.placement.chunks(rank);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    out += i == 0 ? "" : i + 1 == chunks.size() ? " and " : ", ";
    out += fmt::format("{}", chunks[i].stage);
  }
  return out;
}

std::string title_text(const ScheduleView& view) {
  const graph::Placement& placement = view.schedule.placement;
  const auto count = [](std::int32_t n, std::string_view word) {
    return fmt::format("{} {}{}", n, word, n == 1 ? "" : word == "micro-batch" ? "es" : "s");
  };
  std::string out = fmt::format(
      "{}: {}, {}{}, {}", view.schedule.name, count(placement.ranks(), "rank"),
      count(placement.stages(), "stage"), placement.routes().size() > 1 ? " held twice" : "",
      count(placement.micro_batches(), "micro-batch"));
  if (!view.same_as.empty()) out += fmt::format("; the order of {}", view.same_as);
  return out;
}

std::string times_text(const ScheduleView& view) {
  std::string out;
  const auto add = [&](bool used, std::string_view name, graph::Ticks time) {
    if (used) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name, units_text(time));
  };
  add(has(view, PassKind::kForward), "F", view.times.forward);
  add(has(view, PassKind::kBackward), "B", view.times.backward);
  add(has(view, PassKind::kBackwardInput), "I", view.times.backward_input);
  add(has(view, PassKind::kBackwardWeight), "W", view.times.backward_weight);
  add(has(view, std::nullopt), "FB", view.times.pair);
  add(view.times.transfer != 0, "transfer", view.times.transfer);
  return out;
}

std::string summary_text(const ScheduleView& view) {
  graph::Ticks idle_least = view.timing.makespan, idle_most = 0;
  std::int32_t live_least = view.timing.ranks.front().peak_live_activations, live_most = 0;
  for (const graph::RankTiming& rank : view.timing.ranks) {
    idle_least = std::min(idle_least, rank.idle);
    idle_most = std::max(idle_most, rank.idle);
    live_least = std::min(live_least, rank.peak_live_activations);
    live_most = std::max(live_most, rank.peak_live_activations);
  }
  const double share = view.timing.makespan == 0 ? 0
                                                 : 100.0 * static_cast<double>(idle_most) /
                                                       static_cast<double>(view.timing.makespan);
  std::string idle =
      fmt::format("idle on a rank     {} ({:.1f} %{})", on_ranks(idle_least, idle_most), share,
                  idle_least == idle_most ? "" : " at most");
  std::string live = live_least == live_most
                         ? fmt::format("live activations   {}", live_most)
                         : fmt::format("live activations   {} to {}", live_least, live_most);
  if (view.published) {
    const graph::Published& known = *view.published;
    idle += known.bubble ? fmt::format(", published {} = {}", known.bubble_formula,
                                       units_text(*known.bubble))
                         : fmt::format(", published {}", known.bubble_formula);
    live += fmt::format(", published {}{} = {}", live_least == live_most ? "" : "at most ",
                        known.activations_formula, known.activations);
  }
  return fmt::format("makespan           {}\n{}\n{}\n", units_text(view.timing.makespan), idle,
                     live);
}

std::string schedule_json(const ScheduleView& view) {
  ordered_json out = {{"makespan", number(view.timing.makespan)}, {"bubble", nullptr}};
  if (view.published && view.published->bubble) out["bubble"] = number(*view.published->bubble);
  const ProgramJson programs(view.schedule.placement);
  for (std::size_t r = 0; r < view.timing.ranks.size(); ++r) {
    const graph::RankTiming& rank = view.timing.ranks[r];
    const auto index = static_cast<std::int32_t>(r);
    out["ranks"].push_back({{"rank", index},
                            {"idle", number(rank.idle)},
                            {"peak_live_activations", rank.peak_live_activations},
                            {"program", programs.of(view.schedule.programs[r], index)}});
  }
  return out.dump() + "\n";
}

}  // namespace sluice
