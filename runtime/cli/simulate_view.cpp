// Text and JSON of a simulated step.
#include "runtime/cli/simulate_view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice {
namespace {

using nlohmann::ordered_json;

constexpr double kCorpusTokens = 14.8e12;
constexpr double kGiB = 1024.0 * 1024 * 1024;

// How each number is named, found and shown.
struct Line {
  const char* key;
  const char* title;
  double StepNumbers::*value;
  enum { kSeconds, kShare, kBillions, kMillions } shown = kSeconds;
};
constexpr Line kParts[] = {
    {"1F", "1F", &StepNumbers::forward},  {"bubble", "bubble", &StepNumbers::bubble},
    {"1B", "1B", &StepNumbers::backward}, {"1W", "1W", &StepNumbers::weight},
    {"1F1B", "1F1B", &StepNumbers::pair}, {"optimizer", "optimizer", &StepNumbers::optimizer}};
constexpr Line kTotals[] = {
    {"step_s", "step", &StepNumbers::step},
    {"tokens_per_day", "tokens a day", &StepNumbers::tokens_per_day, Line::kBillions},
    {"mfu_causal", "MFU, causal attention", &StepNumbers::mfu_causal, Line::kShare},
    {"mfu_non_causal", "MFU, non-causal", &StepNumbers::mfu_non_causal, Line::kShare},
    {"gpu_hours", "GPU hours, 14.8T tokens", &StepNumbers::gpu_hours, Line::kMillions}};

std::string value_text(double value, const Line& line) {
  switch (line.shown) {
    case Line::kShare: return fmt::format("{:.2f} %", value * 100);
    case Line::kBillions: return fmt::format("{:.2f} B", value / 1e9);
    case Line::kMillions: return fmt::format("{:.3f} M", value / 1e6);
    case Line::kSeconds: break;
  }
  return value < 0.1 ? fmt::format("{:.2f} ms", value * 1e3) : fmt::format("{:.3f} s", value);
}

double error_of(double predicted, double published) { return predicted / published - 1; }

const cost::RankRows& rows_of(const SimulationView& view) {
  return view.step.ranks[static_cast<std::size_t>(view.rank)];
}

// Passes behind a part of kParts; -1 where it has none.
std::int64_t count_of(const cost::RankRows& rows, const Line& line) {
  if (line.value == &StepNumbers::forward) return rows.forward.count;
  if (line.value == &StepNumbers::backward) return rows.backward.count;
  if (line.value == &StepNumbers::weight) return rows.weight.count;
  if (line.value == &StepNumbers::pair) return rows.pair.count;
  return -1;
}

std::string line_text(const Line& line, std::int64_t count, const StepNumbers& numbers,
                      const std::optional<StepNumbers>& published) {
  std::string out =
      fmt::format("  {:25}{:>8}{:>13}", line.title, count < 0 ? "" : fmt::format("{} x", count),
                  value_text(numbers.*line.value, line));
  if (published) {
    out += fmt::format("{:>13}{:>+9.1f} %", value_text((*published).*line.value, line),
                       error_of(numbers.*line.value, (*published).*line.value) * 100);
  }
  return out + "\n";
}

std::string title_text(const SimulationView& view) {
  const cost::Job& job = view.job;
  return fmt::format(
      "{:.0f} {} of {} GPUs a node: {} pipelines of {} ranks, experts {}-way, {}\n"
      "{} layers, {} of {} experts a token, {} MTP; {} micro-batches of {} x {} tokens, {}\n"
      "layers of each stage: {}\nrates: {}\n",
      job.gpus(), view.hardware.name, view.hardware.gpus_per_node, job.data_parallel_size,
      job.pipeline_parallel_size, job.expert_parallel_size, job.schedule,
      job.model.num_hidden_layers, job.model.num_experts_per_tok, job.model.n_routed_experts,
      job.model.num_nextn_predict_layers, job.micro_batches(), job.micro_batch_size,
      job.sequence_length, job.recipe == cost::Recipe::kFp8 ? "fp8" : "bf16",
      fmt::join(view.step.layers_per_stage, " "), view.hardware.rates.name);
}

std::string rows_text(const SimulationView& view) {
  const StepNumbers numbers = numbers_of(view);
  const auto published = published_numbers(view.job, view.hardware);
  std::string out = fmt::format("\n  {:25}{:>8}{:>13}{}\n", fmt::format("rank {}", view.rank),
                                "passes", "predicted", published ? "    published      error" : "");
  for (const Line& line : kParts) {
    out += line_text(line, count_of(rows_of(view), line), numbers, published);
  }
  for (const Line& line : kTotals) out += line_text(line, -1, numbers, published);
  if (published) {
    out +=
        "  published: arXiv 2505.09343 (MPFT), rows taken as those of an edge rank; GPU hours: "
        "arXiv 2412.19437\n";
  }
  return out;
}

std::string transfers_text(const SimulationView& view) {
  const cost::RankRows& rows = rows_of(view);
  return fmt::format(
      "\nall-to-all of rank {}: {:.3f} s under computation, {:.3f} s exposed\n"
      "of the bubble, {:.3f} s between the first pair and the last\n",
      view.rank, rows.transfer_hidden, rows.transfer_exposed, rows.pair_waits);
}

// "rank 0", "ranks 1 to 14".
std::string ranks_text(std::size_t first, std::size_t last) {
  return first == last ? fmt::format("rank {}", first) : fmt::format("ranks {} to {}", first, last);
}

std::string memory_text(const SimulationView& view) {
  std::string out = "\nmemory per rank, GiB: weights + gradients + optimizer + activations\n";
  const std::vector<cost::Memory>& memory = view.step.memory;
  double most = 0;
  std::size_t first = 0;  // of equal ones
  for (std::size_t rank = 0; rank < memory.size(); ++rank) {
    const cost::Memory& m = memory[rank];
    most = std::max(most, m.total());
    if (rank + 1 < memory.size() && memory[rank + 1] == m) continue;
    out += fmt::format("  {:15} {:6.1f} + {:5.1f} + {:5.1f} + {:6.1f} = {:6.1f}\n",
                       ranks_text(first, rank), m.weights / kGiB, m.gradients / kGiB,
                       m.optimizer / kGiB, m.activations / kGiB, m.total() / kGiB);
    first = rank + 1;
  }
  if (most / kGiB > view.hardware.memory_gib) {
    out += fmt::format(
        "  does not fit: {:.1f} of {} GiB; more pipeline ranks, more expert parallelism or smaller "
        "micro-batches need less\n",
        most / kGiB, view.hardware.memory_gib);
  }
  return out;
}

std::string what_ifs_text(const SimulationView& view) {
  if (view.what_ifs.empty()) return "";
  std::string out = "\nwhat if\n";
  for (const WhatIfResult& result : view.what_ifs) {
    out += fmt::format("  {:26}{:9.3f} s{:+8.1f} %  {}\n", result.name, result.step,
                       error_of(result.step, view.step.seconds) * 100, result.about);
  }
  return out;
}

ordered_json json_of(const StepNumbers& numbers) {
  ordered_json out;
  for (const Line& line : kParts) out["parts"][line.key] = numbers.*line.value;
  for (const Line& line : kTotals) out[line.key] = numbers.*line.value;
  return out;
}

ordered_json errors_json(const StepNumbers& numbers, const StepNumbers& published) {
  ordered_json out;
  for (const Line& line : kParts) {
    out["parts"][line.key] = error_of(numbers.*line.value, published.*line.value);
  }
  for (const Line& line : kTotals) {
    out[line.key] = error_of(numbers.*line.value, published.*line.value);
  }
  return out;
}

ordered_json memory_json(const SimulationView& view) {
  ordered_json out = ordered_json::array();
  for (std::size_t rank = 0; rank < view.step.memory.size(); ++rank) {
    const cost::Memory& m = view.step.memory[rank];
    out.push_back({{"rank", rank},
                   {"weights", m.weights},
                   {"gradients", m.gradients},
                   {"optimizer", m.optimizer},
                   {"activations", m.activations},
                   {"total", m.total()}});
  }
  return out;
}

ordered_json stages_json(const SimulationView& view) {
  ordered_json out = ordered_json::array();
  for (std::size_t stage = 0; stage < view.step.stages.size(); ++stage) {
    const cost::StageTimes& times = view.step.stages[stage];
    out.push_back({{"stage", stage},
                   {"layers", view.step.layers_per_stage[stage]},
                   {"F_s", times.passes.forward.seconds},
                   {"I_s", times.passes.backward_input.seconds},
                   {"W_s", times.passes.backward_weight.seconds},
                   {"FB_s", times.pair.seconds}});
  }
  return out;
}

}  // namespace

StepNumbers numbers_of(const SimulationView& view) {
  const cost::RankRows& rows = rows_of(view);
  const cost::Step& step = view.step;
  return {.forward = rows.forward.seconds,
          .bubble = rows.bubble,
          .backward = rows.backward.seconds,
          .weight = rows.weight.seconds,
          .pair = rows.pair.seconds,
          .optimizer = step.optimizer,
          .step = step.seconds,
          .tokens_per_day = step.tokens_per_day,
          .mfu_causal = step.mfu_causal,
          .mfu_non_causal = step.mfu_non_causal,
          .gpu_hours = step.gpu_hours(view.job.gpus(), kCorpusTokens)};
}

std::optional<StepNumbers> published_numbers(const cost::Job& job, const cost::Hardware& hardware) {
  model::ModelConfig v3;  // its defaults are the released sizes
  v3.num_nextn_predict_layers = 1;
  model::ModelConfig given = job.model;
  bool is_same = hardware.name == "H800" && job.recipe == cost::Recipe::kFp8 &&
                 job.schedule == "dualpipe" && job.pipeline_parallel_size == 16 &&
                 job.data_parallel_size == 128 && job.expert_parallel_size == 64 &&
                 job.sequence_length == 4096 && job.micro_batch_size == 1 &&
                 job.global_batch_size == 15360;
  std::vector<std::int64_t> sizes;
  const auto gather = [&sizes](auto&& f) {
    if constexpr (std::is_same_v<std::remove_reference_t<decltype(f.value)>, std::int64_t>) {
      if (f.name != "max_position_embeddings") sizes.push_back(f.value);
    }
  };
  v3.visit_fields(gather);
  const std::vector<std::int64_t> expected = std::move(sizes);
  sizes.clear();
  given.visit_fields(gather);
  is_same = is_same && sizes == expected;
  if (!is_same) return std::nullopt;
  return StepNumbers{.forward = 1.13,
                     .bubble = 2.06,
                     .backward = 1.99,
                     .weight = 0.48,
                     .pair = 13.95,
                     .optimizer = 0.29,
                     .step = 19.926,
                     .tokens_per_day = 272.80e9,
                     .mfu_causal = 0.3894,
                     .mfu_non_causal = 0.4373,
                     .gpu_hours = 2.664e6};
}

std::vector<std::string> assumptions_of(const SimulationView& view) {
  std::vector<std::string> out;
  out.push_back(view.load_was_given
                    ? fmt::format("the slowest rank of each expert group has {} times the mean "
                                  "rows, in every layer",
                                  view.job.expert_load)
                    : std::string("balanced routing assumed (--expert-load sets another)"));
  if (view.job.data_parallel_size > 1) {
    out.push_back(fmt::format("{} equal pipelines folded into one{}", view.job.data_parallel_size,
                              view.job.expert_parallel_size > 1
                                  ? fmt::format(", and the {} ranks of an expert group with them",
                                                view.job.expert_parallel_size)
                                  : ""));
  }
  out.push_back(
      fmt::format("kernels use {} of {} SMs where nothing is transferred beside them, {} "
                  "in a pair",
                  view.hardware.rates.sms_alone, view.hardware.sms,
                  view.hardware.sms -
                      (view.job.expert_parallel_size > 1 ? view.hardware.communication_sms : 0)));
  return out;
}

namespace {

double actors_difference(const SimulationView& view) {
  return view.actors->step_s / view.step.seconds - 1;
}

std::string actors_text(const SimulationView& view) {
  if (!view.actors) return "";
  return fmt::format(
      "\nby its actors: {:.3f} s a step, {:+.1f} % of its programs' timing; kernels of the busiest "
      "rank {:.1f} %\n{} events in {:.2f} s\n",
      view.actors->step_s, 100 * actors_difference(view),
      100 * view.actors->busy_s / view.actors->step_s, view.actors->run.events,
      view.actors->run.run_s);
}

ordered_json actors_json(const SimulationView& view) {
  return {{"step_s", view.actors->step_s},
          {"difference", actors_difference(view)},
          {"busy_s", view.actors->busy_s},
          {"events", view.actors->run.events},
          {"tasks", view.actors->run.tasks},
          {"seconds", view.actors->run.setup_s + view.actors->run.run_s}};
}

}  // namespace

std::string simulation_text(const SimulationView& view) {
  std::string out = title_text(view);
  for (const std::string& sentence : assumptions_of(view)) out += sentence + "\n";
  return out + rows_text(view) + transfers_text(view) + memory_text(view) + what_ifs_text(view) +
         actors_text(view);
}

std::string simulation_json(const SimulationView& view) {
  const StepNumbers numbers = numbers_of(view);
  const auto published = published_numbers(view.job, view.hardware);
  const cost::RankRows& rows = rows_of(view);
  ordered_json out = json_of(numbers);
  out["passes"] = {{"1F", rows.forward.count},
                   {"1B", rows.backward.count},
                   {"1W", rows.weight.count},
                   {"1F1B", rows.pair.count}};
  out["rank"] = view.rank;
  out["all_to_all"] = {{"hidden_s", rows.transfer_hidden}, {"exposed_s", rows.transfer_exposed}};
  out["pair_waits_s"] = rows.pair_waits;
  out["stages"] = stages_json(view);
  out["memory"] = memory_json(view);
  out["published"] = published ? json_of(*published) : ordered_json();
  out["error"] = published ? errors_json(numbers, *published) : ordered_json();
  out["hardware"] = view.hardware.name;
  out["rates"] = view.hardware.rates.name;
  out["gpus"] = view.job.gpus();
  out["expert_load"] = view.job.expert_load;
  out["assumptions"] = assumptions_of(view);
  if (view.actors) out["actors"] = actors_json(view);
  for (const WhatIfResult& result : view.what_ifs) {
    out["what_if"].push_back(
        {{"name", result.name}, {"about", result.about}, {"step_s", result.step}});
  }
  return out.dump(1) + "\n";
}

}  // namespace sluice
