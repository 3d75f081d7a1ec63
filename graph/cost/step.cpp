// From a job to its step.
#include "graph/cost/step.hpp"

#include <algorithm>
#include <cmath>

namespace sluice::cost {
namespace {

using graph::PassKind;
using graph::Ticks;

constexpr double kTicksPerSecond = 1e9;
constexpr std::size_t kUnits = 5;

Ticks ticks(double seconds) { return static_cast<Ticks>(std::llround(seconds * kTicksPerSecond)); }
double seconds(Ticks time) { return static_cast<double>(time) / kTicksPerSecond; }

class Simulation {
 public:
  Simulation(const Job& job, const Hardware& hardware) : job_(job), hardware_(hardware) {}

  Result<Step> run() {
    SLUICE_TRY(validate(job_));
    SLUICE_ASSIGN(step_.schedule, schedule_of(job_));
    for (std::size_t unit = 0; unit < kUnits; ++unit) {
      units_.push_back(unit_times(static_cast<Unit>(unit), job_, hardware_));
    }
    SLUICE_TRY(lay_out());
    time_stages();
    step_.stage_hop = hop_seconds();
    SLUICE_ASSIGN(step_.timing, graph::time_schedule(
                                    step_.schedule,
                                    [this](std::int32_t rank, const graph::Action& action) {
                                      return ticks(time_of(rank, action).seconds);
                                    },
                                    ticks(step_.stage_hop)));
    for (std::int32_t rank = 0; rank < placement().ranks(); ++rank) account(rank);
    finish();
    return std::move(step_);
  }

 private:
  const graph::Placement& placement() const { return step_.schedule.placement; }

  Status lay_out() {
    const std::int32_t stages = placement().stages();
    if (stages > job_.model.num_hidden_layers) {
      return invalid_input("{} stages for {} layers; every stage needs one", stages,
                           job_.model.num_hidden_layers);
    }
    step_.layers_per_stage = job_.layers_per_stage;
    if (step_.layers_per_stage.empty()) {
      std::vector<double> all;
      for (const UnitTimes& unit : units_) {
        const ChunkTimes times = chunk_times({unit});
        all.push_back(times.forward.seconds + times.backward_input.seconds +
                      times.backward_weight.seconds);
      }
      step_.layers_per_stage = balanced_layers(job_.model, stages, all);
    }
    SLUICE_ASSIGN(stages_, stages_of(job_.model, step_.layers_per_stage, stages));
    return {};
  }

  void time_stages() {
    for (const auto& stage : stages_) {
      std::vector<UnitTimes> times;
      for (const Unit unit : stage) times.push_back(units_[static_cast<std::size_t>(unit)]);
      stage_units_.push_back(std::move(times));
    }
    for (const auto& units : stage_units_) {
      step_.stages.push_back({chunk_times(units), pair_time(units, units)});
    }
    pairs_.resize(stages_.size() * stages_.size());
  }

  // Neighbours are on one node where the whole job is; otherwise each node holds one stage.
  double hop_seconds() const {
    const bool one_node = job_.gpus() <= hardware_.gpus_per_node;
    const double bytes = job_.tokens() * static_cast<double>(job_.model.hidden_size) * 2;
    const double gb_s = one_node ? hardware_.nvlink_gb_s : hardware_.ib_gb_s;
    const double latency = one_node ? hardware_.nvlink_latency_us : hardware_.ib_latency_us;
    return bytes / (gb_s * 1e9) + latency * 1e-6;
  }

  std::size_t stage_of(std::int32_t rank, const graph::Pass& pass) const {
    return static_cast<std::size_t>(placement().chunk(rank, pass.chunk).stage);
  }

  const PassTime& pair_of(std::size_t forward, std::size_t backward) {
    auto& pair = pairs_[forward * stages_.size() + backward];
    if (!pair) pair = pair_time(stage_units_[forward], stage_units_[backward]);
    return *pair;
  }

  PassTime time_of(std::int32_t rank, const graph::Action& action) {
    const auto passes = action.passes();
    const std::size_t stage = stage_of(rank, passes.front());
    if (action.is_pair()) return pair_of(stage, stage_of(rank, passes.back()));
    const ChunkTimes& times = step_.stages[stage].passes;
    switch (passes.front().kind) {
      case PassKind::kForward: return times.forward;
      case PassKind::kBackwardInput: return times.backward_input;
      case PassKind::kBackwardWeight: return times.backward_weight;
      case PassKind::kBackward: break;
    }
    PassTime both = times.backward_input;
    both.seconds += times.backward_weight.seconds;
    return both;
  }

  static Row& row_of(RankRows& rows, const graph::Action& action) {
    if (action.is_pair()) return rows.pair;
    switch (action.passes().front().kind) {
      case PassKind::kForward: return rows.forward;
      case PassKind::kBackwardWeight: return rows.weight;
      default: return rows.backward;
    }
  }

  void account(std::int32_t rank) {
    const graph::Program& program = step_.schedule.programs[static_cast<std::size_t>(rank)];
    const std::vector<graph::Span>& spans =
        step_.timing.ranks[static_cast<std::size_t>(rank)].actions;
    const auto is_pair = [](const graph::Action& action) { return action.is_pair(); };
    const auto first = std::find_if(program.begin(), program.end(), is_pair) - program.begin();
    const auto last = program.size() - static_cast<std::size_t>(
                                           std::find_if(program.rbegin(), program.rend(), is_pair) -
                                           program.rbegin());  // after the last pair
    RankRows rows;
    Ticks before = 0;
    for (std::size_t i = 0; i < program.size(); ++i) {
      const PassTime time = time_of(rank, program[i]);
      Row& row = row_of(rows, program[i]);
      ++row.count;
      row.seconds += seconds(spans[i].end - spans[i].start);
      rows.transfer_exposed += time.exposed;
      rows.transfer_hidden += time.transfer - time.exposed;
      const double wait = seconds(spans[i].start - before);
      rows.bubble += wait;
      if (static_cast<std::ptrdiff_t>(i) > first && i < last) rows.pair_waits += wait;
      before = spans[i].end;
    }
    rows.bubble += seconds(step_.timing.makespan - before);
    step_.ranks.push_back(rows);
    step_.memory.push_back(memory_of(job_, step_.schedule, stages_, rank));
    step_.optimizer = std::max(step_.optimizer,
                               optimizer_seconds(job_, step_.schedule, stages_, hardware_, rank));
  }

  void finish() {
    step_.seconds = seconds(step_.timing.makespan) + step_.optimizer;
    step_.tokens = static_cast<double>(job_.global_batch_size * job_.sequence_length);
    step_.tokens_per_day = step_.tokens / step_.seconds * 86400;
    step_.operations_causal = operations_per_token(job_, true) * step_.tokens;
    step_.operations_non_causal = operations_per_token(job_, false) * step_.tokens;
    const double peak = step_.seconds * job_.gpus() * hardware_.bf16_peak_tflops * 1e12;
    step_.mfu_causal = step_.operations_causal / peak;
    step_.mfu_non_causal = step_.operations_non_causal / peak;
  }

  const Job& job_;
  const Hardware& hardware_;
  std::vector<UnitTimes> units_;  // by Unit
  Stages stages_;
  std::vector<std::vector<UnitTimes>> stage_units_;
  std::vector<std::optional<PassTime>> pairs_;  // by stage of the forward, then of the backward
  Step step_;
};

}  // namespace

UnitTimes unit_times(Unit unit, const Job& job, const Hardware& hardware) {
  const UnitKernels kernels = kernels_of(unit, job, hardware.gpus_per_node);
  const bool has_transfers = job.expert_parallel_size > 1;
  const double beside = hardware.sms - (has_transfers ? hardware.communication_sms : 0);
  const double alone = std::min(hardware.rates.sms_alone, hardware.sms);
  return {task_seconds(kernels, hardware, alone), task_seconds(kernels, hardware, beside)};
}

Result<Step> simulate_step(const Job& job, const Hardware& hardware) {
  return Simulation(job, hardware).run();
}

}  // namespace sluice::cost
