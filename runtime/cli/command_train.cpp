// sluice train: a run from a config, shown as it goes.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/cli/loss_curve.hpp"
#include "runtime/engine/trainer.hpp"
#include "runtime/store/checkpoint_writer.hpp"

namespace sluice {
namespace {

struct TrainArguments {
  ConfigOptions config;
  engine::TrainOptions options;
  std::string payloads = "none";
};

std::atomic<bool> stop_requested{false};

// Once: finish the step and save. Twice: at once (the newest checkpoint stays whole).
void on_interrupt(int signal_number) {
  if (stop_requested.exchange(true)) std::signal(signal_number, SIG_DFL), std::raise(signal_number);
}

std::string duration(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
}

std::string mib(std::int64_t bytes) {
  return fmt::format("{:.0f} MiB", static_cast<double>(bytes) / (1 << 20));
}

// One line that updates on a terminal; a plain line now and then elsewhere.
class Display {
 public:
  engine::TrainEvents events() {
    engine::TrainEvents out;
    out.on_tokenize = [this](std::uint64_t done, std::uint64_t all) { tokenizing(done, all); };
    out.on_start = [this](const engine::RunFacts& facts) { started(facts); };
    out.on_step = [this](const engine::StepProgress& progress) { step(progress); };
    out.on_validation = [this](std::int64_t at, const actors::StepReport& report) {
      line(fmt::format("step {}: validation loss {:.4f} (unigram entropy {:.4f})", at, report.main,
                       unigram_));
    };
    out.on_stall = [this](const std::string& why) {
      line(fmt::format("warning: nothing moves: {}", why));
    };
    out.on_recording_lost = [this](const std::string& why) {
      line(fmt::format("warning: recording no more: {}", why));
    };
    out.on_checkpoint = [this](std::int64_t, const std::string& path) {
      line(fmt::format("saved {}", path));
    };
    return out;
  }
  void finish() {
    if (is_terminal_ && updating_) fmt::print("\n");
    updating_ = false;
  }

 private:
  void tokenizing(std::uint64_t done, std::uint64_t all) {
    if (is_terminal_ && all > 0)
      update(fmt::format("tokenizing {:.0f} %",
                         100.0 * static_cast<double>(done) / static_cast<double>(all)));
  }

  void started(const engine::RunFacts& facts) {
    unigram_ = facts.validation_unigram_loss;
    line(fmt::format("{} parameters, {} training tokens in {} documents, kernels {}",
                     facts.parameters, facts.train_tokens, facts.documents, facts.kernel_set));
    line(fmt::format("memory: {} predicted", mib(facts.predicted_bytes)));
    if (!facts.set_aside.empty())
      line(fmt::format("the checkpoints of an earlier run are now in {}", facts.set_aside));
    if (!facts.resumed_from.empty())
      line(fmt::format("going on from {} at step {}", facts.resumed_from, facts.first_step));
  }

  void step(const engine::StepProgress& p) {
    double violation = 0;
    for (const auto& layer : p.report.layers) violation = std::max(violation, layer.max_violation);
    const std::string text = fmt::format(
        "step {}/{}  loss {:.4f}  mtp {}  MaxVio {:.2f}  bubble {:.0f} %  hidden {:.0f} %  {:.0f} "
        "tokens/s  ETA {}  {}",
        p.report.index + 1, p.steps, p.report.main,
        p.report.mtp.empty() ? "-" : fmt::format("{:.4f}", p.report.mtp[0]), violation,
        100 * p.bubble, 100 * p.hidden, p.tokens_per_s, duration(p.eta_s), mib(p.memory_bytes));
    const std::int64_t every = std::max<std::int64_t>(1, p.steps / 20);
    if (is_terminal_) {
      update(text);
    } else if ((p.report.index + 1) % every == 0 || p.report.index == 0) {
      line(text);
    }
  }

  void update(const std::string& text) {
    fmt::print("\r\x1b[K{}", text);
    std::fflush(stdout);
    updating_ = true;
  }
  void line(const std::string& text) {
    fmt::print("{}{}\n", is_terminal_ && updating_ ? "\r\x1b[K" : "", text);
    std::fflush(stdout);
    updating_ = false;
  }

  bool is_terminal_ = isatty(STDOUT_FILENO) != 0;
  bool updating_ = false;
  double unigram_ = 0;
};

void print_end(const config::Config& config, const TrainArguments& arguments,
               const engine::TrainOutcome& outcome) {
  if (auto history = engine::read_metrics(config.run.directory))
    fmt::print("\n{}\n", draw_loss_curve(*history));
  fmt::print("memory: {} predicted, {} used at most\n", mib(outcome.predicted_bytes),
             mib(outcome.used_bytes_peak));
  if (outcome.validation_loss && outcome.validation_unigram_loss > 0) {
    fmt::print("validation loss {:.4f}, unigram entropy of the text {:.4f} nats a token\n",
               *outcome.validation_loss, outcome.validation_unigram_loss);
  }
  fmt::print("checkpoint {}\n", outcome.checkpoint);
  if (!arguments.options.record.empty()) {
    fmt::print("recorded {:.1f} MB; look at it with: sluice replay {}\n",
               static_cast<double>(outcome.recorded_bytes) * 1e-6, arguments.options.record);
  }
  if (outcome.complete) {
    fmt::print("generate with: sluice generate {} --prompt TEXT\n", outcome.checkpoint);
    return;
  }
  std::string command = "sluice train";
  if (!arguments.config.file.empty()) command += " " + arguments.config.file;
  for (const std::string& set : arguments.config.sets) command += fmt::format(" --set '{}'", set);
  fmt::print("stopped at step {} of {}; go on with: {} --resume\n", outcome.next_step,
             config.train.steps, command);
}

Result<int> train(TrainArguments arguments) {
  SLUICE_ASSIGN(arguments.options.payloads, trace::payloads_from_name(arguments.payloads));
  SLUICE_ASSIGN(const config::Config config, arguments.config.load());
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  Display display;
  auto outcome = engine::train(config, arguments.options, display.events(), stop_requested);
  display.finish();
  if (!outcome) return tl::unexpected(std::move(outcome).error());
  print_end(config, arguments, *outcome);
  return 0;
}

}  // namespace

void add_train(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<TrainArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand("train", "Train a model from a config");
  add_config_options(*command, arguments->config)->required();
  command->add_flag("--resume", arguments->options.resume,
                    "go on from the newest checkpoint of the run");
  auto* record = command->add_option("--record", arguments->options.record,
                                     "write a recording of the run to this folder");
  command
      ->add_option("--payloads", arguments->payloads,
                   "whose elements it holds: none (digests alone), boundary (what goes from stage "
                   "to stage), all")
      ->needs(record);
  command->callback([arguments, &run] { run = [arguments] { return train(*arguments); }; });
}

}  // namespace sluice
