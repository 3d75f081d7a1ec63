// A cluster fed with random tokens; times between reports.
#include "runtime/bench/train_bench.hpp"

#include <algorithm>
#include <chrono>

#include "graph/model/summary.hpp"
#include "kernels/base/median.hpp"
#include "kernels/base/random.hpp"
#include "kernels/cpu/profile.hpp"
#include "kernels/gemm/peak.hpp"
#include "runtime/bench/record_meter.hpp"
#include "runtime/engine/clock.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/process_memory.hpp"
#include "runtime/engine/run_recording.hpp"
#include "runtime/engine/settings.hpp"

namespace sluice::bench {
namespace {

using engine::Clock;
constexpr std::int64_t kWarmUpSteps = 2;

class RandomTokens final : public actors::SampleReader {
 public:
  explicit RandomTokens(std::int64_t vocab_size)
      : vocab_size_(static_cast<std::uint64_t>(vocab_size)) {}
  Status read(actors::StepMode, std::int64_t index, std::int32_t micro_batch,
              Tensor tokens) override {
    const Random random(0, RandomPurpose::kBench,
                        static_cast<std::uint64_t>(index * 4096 + micro_batch));
    std::uint64_t i = 0;
    for (std::int32_t& token : tokens.values<std::int32_t>())
      token = static_cast<std::int32_t>(random.below(vocab_size_, i++));
    return {};
  }

 private:
  std::uint64_t vocab_size_;
};

// Forward operations times three: the gradient of each product is two more of the same size.
double operations_of(const graph::ModelSummary& summary, std::int64_t tokens) {
  double per_token = 0;
  for (const graph::UnitSummary& unit : summary.units) {
    const double rows = unit.is_moe ? static_cast<double>(summary.num_experts_per_tok) : 0;
    per_token += unit.forward_operations_per_token + rows * unit.expert_operations_per_row;
  }
  return 3 * per_token * static_cast<double>(tokens);
}

void read_profile(engine::Cluster& cluster, std::int64_t steps, TrainBenchReport& report) {
  const double n = static_cast<double>(steps) * cluster.device().ranks();
  double measured = 0;
  const kernels::Profile profile = cluster.device().profile();
  for (const auto& [name, entry] : profile.entries()) {
    report.kernels.push_back({name, entry.seconds / n, static_cast<double>(entry.calls) / n,
                              entry.seconds > 0 ? entry.operations / entry.seconds * 1e-9 : 0});
    measured += entry.seconds / n;
  }
  std::sort(report.kernels.begin(), report.kernels.end(),
            [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  const auto lane = cluster.device().statistics(actors::Lane::kCompute);
  report.waiting_s = lane.idle_seconds / n;
  report.outside_kernels_s = std::max(0.0, lane.busy_seconds / n - measured);
}

// Steps [first, last); the seconds of each. Where there is a meter, those with odd numbers are
// recorded.
Result<std::vector<double>> run_steps(engine::Cluster& cluster, std::int64_t first,
                                      std::int64_t last, double* loss, RecordMeter* meter) {
  std::vector<double> out;
  cluster.command(actors::RunTraining{first, last});
  Clock::time_point began = Clock::now();
  for (;;) {
    SLUICE_ASSIGN(const actors::Message message, cluster.receive());
    if (std::holds_alternative<actors::Idle>(message.body)) return out;
    const auto* report = std::get_if<actors::StepReport>(&message.body);
    if (report == nullptr) continue;
    const Clock::time_point now = Clock::now();
    out.push_back(engine::seconds_between(began, now));
    began = now;
    if (meter != nullptr) meter->set_recording(report->index % 2 == 0);  // the one that comes now
    if (report->index == 0) *loss = report->main;
  }
}

Status begin_recording(RecordMeter& meter, const config::Config& config,
                       const model::ModelConfig& model, const engine::Cluster& cluster,
                       const TrainBenchOptions& options) {
  trace::Recording recording = engine::describe_run(config, model, {});
  recording.payloads = options.payloads;
  trace::set_plan(recording, cluster.plan());
  return meter.recorder().begin(options.record, recording);
}

TrainBenchReport::Recording measure(const RecordMeter& meter, const std::vector<double>& steps_s,
                                    double bytes) {
  std::vector<double> plain, recorded;
  for (std::size_t i = 0; i < steps_s.size(); ++i)
    ((i + kWarmUpSteps) % 2 == 0 ? plain : recorded).push_back(steps_s[i]);
  TrainBenchReport::Recording out;
  if (recorded.empty()) return out;
  const auto n = static_cast<double>(recorded.size());
  out.step_s = median(recorded);
  out.plain_step_s = median(plain);
  out.recorder_s = meter.seconds() / n;
  out.records = static_cast<double>(meter.calls()) / n;
  out.bytes = bytes / n;
  return out;
}

}  // namespace

Result<TrainBenchReport> run_train_bench(const config::Config& config,
                                         const TrainBenchOptions& options) {
  SLUICE_ASSIGN(const model::ModelConfig model, config::load_model(config));
  SLUICE_TRY(config::check_model(config, model));
  SLUICE_ASSIGN(engine::ClusterOptions cluster_options, engine::cluster_options(config, model));
  RandomTokens reader(model.vocab_size);
  cluster_options.reader = &reader;
  cluster_options.device.profile = options.profile;

  TrainBenchReport report;
  report.recipe = config.precision.recipe;
  report.isa = engine::kernel_set(cluster_options.device, cluster_options.recipe);
  report.threads = cluster_options.device.threads * cluster_options.device.ranks;
  report.cpu = kernels::cpu_description();
  std::unique_ptr<RecordMeter> meter;
  if (!options.record.empty()) {
    meter = std::make_unique<RecordMeter>();
    cluster_options.observer = meter.get();
  }
  const std::int64_t resident_before = engine::resident_bytes();
  SLUICE_ASSIGN(const auto cluster, engine::Cluster::create(cluster_options));
  for (const auto& [name, shape] : cluster->parameters()) report.parameters += shape.count();
  for (const graph::RankMemory& memory : cluster->plan().memory)
    report.predicted_bytes += memory.total();
  SLUICE_TRY(
      engine::initialize_weights(*cluster, model, static_cast<std::uint64_t>(config.train.seed)));
  std::uint64_t header_bytes = 0;
  if (meter != nullptr) {
    SLUICE_TRY(begin_recording(*meter, config, model, *cluster, options));
    header_bytes = meter->recorder().size_bytes();
  }
  SLUICE_TRY(cluster->start());

  SLUICE_TRY(run_steps(*cluster, 0, kWarmUpSteps, &report.first_loss, nullptr));
  const std::int64_t blocks = cluster->device().allocator().statistics().blocks;
  cluster->device().reset_statistics();
  SLUICE_ASSIGN(report.steps_s, run_steps(*cluster, kWarmUpSteps, kWarmUpSteps + options.steps,
                                          &report.first_loss, meter.get()));
  report.new_blocks = cluster->device().allocator().statistics().blocks - blocks;
  if (options.profile) read_profile(*cluster, options.steps, report);
  SLUICE_TRY(cluster->stop());
  if (meter != nullptr) {
    const auto bytes = static_cast<double>(meter->recorder().size_bytes() - header_bytes);
    SLUICE_TRY(meter->recorder().end());
    report.recording = measure(*meter, report.steps_s, bytes);
  }
  report.used_bytes_peak = engine::resident_bytes_peak() - resident_before;

  const std::int64_t tokens = config.train.global_batch_size * config.train.sequence_length;
  report.step_s = median(report.steps_s);
  report.tokens_per_s = static_cast<double>(tokens) / report.step_s;
  report.operations = operations_of(
      model::summarize(model, cluster_options.recipe, config.train.sequence_length), tokens);
  const DType operands =
      cluster_options.recipe == model::Recipe::kBf16 ? DType::kBF16 : DType::kF32;
  report.peak_gflops = kernels::measure_peak_gflops(cluster->device().context(), operands, 0.2) *
                       cluster->device().ranks();
  if (report.peak_gflops > 0)
    report.share_of_peak = report.operations / report.step_s * 1e-9 / report.peak_gflops;
  return report;
}

nlohmann::ordered_json to_json(const TrainBenchReport& r) {
  nlohmann::ordered_json out = {{"tokens_per_s", r.tokens_per_s},
                                {"step_s", r.step_s},
                                {"parameters", r.parameters},
                                {"recipe", r.recipe},
                                {"threads", r.threads},
                                {"isa", r.isa},
                                {"share_of_peak", r.share_of_peak},
                                {"peak_gflops", r.peak_gflops},
                                {"operations", r.operations},
                                {"cpu", r.cpu},
                                {"first_loss", r.first_loss},
                                {"predicted_bytes", r.predicted_bytes},
                                {"used_bytes_peak", r.used_bytes_peak},
                                {"new_blocks_after_warm_up", r.new_blocks},
                                {"steps_s", r.steps_s}};
  if (r.recording) {
    out["recording"] = {{"step_s", r.recording->step_s},
                        {"plain_step_s", r.recording->plain_step_s},
                        {"recorder_s", r.recording->recorder_s},
                        {"records", r.recording->records},
                        {"bytes", r.recording->bytes}};
  }
  if (r.kernels.empty()) return out;
  for (const TrainBenchReport::Kernel& k : r.kernels) {
    out["profile"]["kernels"].push_back(
        {{"name", k.name}, {"seconds", k.seconds}, {"calls", k.calls}, {"gflops", k.gflops}});
  }
  out["profile"]["waiting_s"] = r.waiting_s;
  out["profile"]["outside_kernels_s"] = r.outside_kernels_s;
  return out;
}

std::string to_table(const TrainBenchReport& r) {
  std::string out = fmt::format(
      "{}\n{} parameters, recipe {}, kernels {}, {} threads\nstep {:.1f} ms (median of {}), {:.0f} "
      "tokens/s, {:.1f} GFLOP/s = {:.0f} % "
      "of the peak {:.0f}\nmemory {:.0f} MiB predicted, {:.0f} MiB used; {} blocks taken after the "
      "second step\n",
      r.cpu, r.parameters, r.recipe, r.isa, r.threads, r.step_s * 1e3, r.steps_s.size(),
      r.tokens_per_s, r.operations / r.step_s * 1e-9, 100 * r.share_of_peak, r.peak_gflops,
      static_cast<double>(r.predicted_bytes) / (1 << 20),
      static_cast<double>(r.used_bytes_peak) / (1 << 20), r.new_blocks);
  if (const auto& c = r.recording) {
    out += fmt::format(
        "recorded steps {:.1f} ms, others {:.1f} ms ({:+.2f} %); in the recorder {:.2f} ms a step "
        "({:.2f} %), for {:.0f} records of {:.0f} kB\n",
        c->step_s * 1e3, c->plain_step_s * 1e3, 100 * (c->step_s / c->plain_step_s - 1),
        c->recorder_s * 1e3, 100 * c->recorder_s / c->plain_step_s, c->records, c->bytes * 1e-3);
  }
  if (r.kernels.empty()) return out;
  out += fmt::format("{:32} {:>10} {:>7} {:>8} {:>9}\n", "kernel", "ms a step", "share", "calls",
                     "GFLOP/s");
  const auto row = [&](const std::string& name, double seconds, double calls, double gflops) {
    out += fmt::format("{:32} {:10.2f} {:6.1f}% {:8.1f} {:9.1f}\n", name, seconds * 1e3,
                       100 * seconds / r.step_s, calls, gflops);
  };
  for (const TrainBenchReport::Kernel& k : r.kernels) row(k.name, k.seconds, k.calls, k.gflops);
  row("(tasks, outside kernels)", r.outside_kernels_s, 0, 0);
  row("(lane waiting for messages)", r.waiting_s, 0, 0);
  return out;
}

}  // namespace sluice::bench
