// One step of a plan at several numbers of micro-batches.
#include "runtime/bench/sim_bench.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/engine/process_memory.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/engine/virtual_run.hpp"

namespace sluice::bench {
namespace {

host::SimHost::Config times() {
  host::SimHost::Config config;
  config.task_model = [](const actors::Task&, std::int32_t) -> std::int64_t { return 1'000'000; };
  config.message_model = [](const actors::Message&, graph::ActorIndex) -> std::int64_t {
    return 10'000;
  };
  return config;
}

Result<SimBenchRow> measure(const engine::ClusterOptions& options, std::int32_t rounds) {
  SimBenchRow row;
  row.micro_batches = options.plan.micro_batches;
  for (std::int32_t round = 0; round < rounds; ++round) {
    SLUICE_ASSIGN(const engine::VirtualRun run, engine::run_virtually(options, times(), 1));
    row.setup_s = round == 0 ? run.setup_s : std::min(row.setup_s, run.setup_s);
    row.seconds = round == 0 ? run.run_s : std::min(row.seconds, run.run_s);
    row.tasks = run.tasks;
    row.events = run.events;
  }
  return row;
}

}  // namespace

Result<SimBenchReport> run_sim_bench(const config::Config& config, const SimBenchOptions& options) {
  SLUICE_ASSIGN(const model::ModelConfig model, config::load_model(config));
  SLUICE_ASSIGN(engine::ClusterOptions cluster, engine::virtual_options(config, model));
  cluster.plan.expert_parallel_size = 1;
  SimBenchReport report;
  SLUICE_ASSIGN(const graph::Plan plan, engine::plan_of(cluster));
  report.actors = static_cast<std::int64_t>(plan.actors.size());
  const std::int32_t micro_batches = cluster.plan.micro_batches;
  const std::int64_t before = engine::resident_bytes();
  for (const std::int64_t factor : options.factors) {
    cluster.plan.micro_batches = static_cast<std::int32_t>(micro_batches * factor);
    SLUICE_ASSIGN(SimBenchRow row, measure(cluster, options.rounds));
    row.memory_bytes = std::max<std::int64_t>(0, engine::resident_bytes_peak() - before);
    report.rows.push_back(row);
  }
  return report;
}

std::string to_table(const SimBenchReport& report) {
  std::string text = fmt::format(
      "{} actors in virtual time without task bodies, one step, one core\n"
      "{:>14} {:>10} {:>10} {:>9} {:>9} {:>12} {:>9} {:>9}\n",
      report.actors, "micro-batches", "tasks", "events", "setup s", "seconds", "events/s",
      "us/task", "MiB");
  for (const SimBenchRow& row : report.rows) {
    text += fmt::format("{:14} {:10} {:10} {:9.3f} {:9.3f} {:12.0f} {:9.3f} {:9.1f}\n",
                        row.micro_batches, row.tasks, row.events, row.setup_s, row.seconds,
                        static_cast<double>(row.events) / row.seconds,
                        row.seconds / static_cast<double>(row.tasks) * 1e6,
                        static_cast<double>(row.memory_bytes) / (1 << 20));
  }
  return text;
}

nlohmann::ordered_json to_json(const SimBenchReport& report) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const SimBenchRow& row : report.rows) {
    rows.push_back({{"micro_batches", row.micro_batches},
                    {"tasks", row.tasks},
                    {"events", row.events},
                    {"setup_s", row.setup_s},
                    {"seconds", row.seconds},
                    {"events_per_s", static_cast<double>(row.events) / row.seconds},
                    {"memory_bytes", row.memory_bytes}});
  }
  return {{"actors", report.actors}, {"rows", rows}};
}

}  // namespace sluice::bench
