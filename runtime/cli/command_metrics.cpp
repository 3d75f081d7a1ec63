// sluice metrics: the loss curve of a run, drawn later.
#include <CLI/CLI.hpp>
#include <memory>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/loss_curve.hpp"

namespace sluice {

void add_metrics(CLI::App& app, CommandRun& run) {
  const auto folder = std::make_shared<std::string>();  // outlives the callback's caller
  auto* command = app.add_subcommand("metrics", "Draw the loss curve of a run");
  command->add_option("run", *folder, "folder of the run, or its metrics.jsonl")->required();
  command->callback([folder, &run] {
    run = [folder]() -> Result<int> {
      SLUICE_ASSIGN(const engine::MetricsHistory history, engine::read_metrics(*folder));
      const engine::MetricsHistory::Point& last = history.training.back();
      return print(draw_loss_curve(history) +
                   fmt::format("         step {}: loss {:.4f}; median {:.0f} tokens/s\n",
                               last.step + 1, last.loss, history.tokens_per_s));
    };
  });
}

}  // namespace sluice
