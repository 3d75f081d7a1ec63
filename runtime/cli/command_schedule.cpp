// sluice schedule NAME: a pipeline schedule as a table, JSON, CSV or SVG, before anything runs it.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "graph/schedule/csv.hpp"
#include "runtime/cli/cli.hpp"
#include "runtime/cli/schedule_view.hpp"
#include "runtime/config/schedule_file.hpp"
#include "runtime/store/file.hpp"

namespace sluice {
namespace {

struct ScheduleArguments {
  std::string name;
  std::int32_t ranks = 0;
  std::int32_t micro_batches = 0;
  std::int32_t stages_per_rank = 0;
  std::string times;
  std::string transfer;
  bool json = false;
  bool csv = false;
  std::string svg;
};

// "2.5" -> ticks. Errors: no number, negative, too long, more than six decimals.
Result<graph::Ticks> parse_time(std::string_view text) {
  constexpr std::int64_t kUnitsMax = 100'000;
  const std::size_t point = std::min(text.find('.'), text.size());
  const std::string_view fraction = text.substr(std::min(point + 1, text.size()));
  const auto all_digits = [](std::string_view part) {
    return std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  const std::string_view whole = text.substr(0, point);
  const bool is_number =
      all_digits(whole) && all_digits(fraction) && !(whole.empty() && fraction.empty());
  if (!is_number || fraction.size() > 6 || whole.size() > 6) {
    return invalid_input("\"{:.40}\" is no time; use a number from 0 to {} with at most 6 decimals",
                         text, kUnitsMax);
  }
  const std::string digits = fmt::format("{}{:0<6}", whole, fraction);
  graph::Ticks ticks = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), ticks);
  if (ticks > kUnitsMax * kTicksPerUnit) return invalid_input("{} is above {}", text, kUnitsMax);
  return ticks;
}

// Times as the caller gave them.
struct GivenTimes {
  std::optional<graph::Ticks> forward, backward, backward_input, backward_weight, pair;
};

// What is absent follows: a backward pass is its two halves, a pair takes as long as its passes.
Result<graph::PassTimes> complete(GivenTimes given) {
  auto& [forward, backward, input, weight, pair] = given;
  if (backward) {
    if (!input && !weight) weight = *backward / 2;
    if (!input) input = *backward - *weight;
    if (!weight) weight = *backward - *input;
    if (*input < 0 || *weight < 0) {
      return invalid_input("--times: B={} is shorter than its half {}={}; give I and W",
                           units_text(*backward), *input < 0 ? 'W' : 'I',
                           units_text(std::max(*input, *weight)));
    }
  }
  graph::PassTimes times;
  times.forward = forward.value_or(kTicksPerUnit);
  times.backward_input = input.value_or(kTicksPerUnit);
  times.backward_weight = weight.value_or(kTicksPerUnit);
  times.backward = backward.value_or(times.backward_input + times.backward_weight);
  times.pair = pair.value_or(times.forward + times.backward);
  return times;
}

// "F=1,B=2,FB=2.5".
Result<graph::PassTimes> parse_times(std::string_view text, std::string_view transfer) {
  GivenTimes given;
  const std::pair<std::string_view, std::optional<graph::Ticks>*> names[] = {
      {"F", &given.forward},
      {"B", &given.backward},
      {"I", &given.backward_input},
      {"W", &given.backward_weight},
      {"FB", &given.pair}};
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    const std::string_view name = part.substr(0, part.find('='));
    const auto* found = std::find_if(std::begin(names), std::end(names),
                                     [&](const auto& entry) { return entry.first == name; });
    if (found == std::end(names) || name.size() == part.size()) {
      return invalid_input("--times {:.40}: write F=1,B=2,I=1,W=1,FB=3, or some of them", part);
    }
    auto time = parse_time(part.substr(name.size() + 1));
    if (!time) return in_context(fmt::format("--times {}", name), std::move(time).error());
    *found->second = *time;
  }
  SLUICE_ASSIGN(graph::PassTimes times, complete(given));
  if (!transfer.empty()) {
    auto time = parse_time(transfer);
    if (!time) return in_context("--transfer", std::move(time).error());
    times.transfer = *time;
  }
  return times;
}

bool is_in_table(std::string_view name) {
  const auto names = graph::schedule_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<graph::Schedule> read_file(const ScheduleArguments& arguments) {
  const std::filesystem::path path = arguments.name;
  std::error_code ignored;
  if (path.filename() == path && !path.has_extension() && !std::filesystem::exists(path, ignored)) {
    return invalid_input("there is no schedule \"{:.100}\"; use {}, or the path of a CSV file",
                         arguments.name, fmt::join(graph::schedule_names(), ", "));
  }
  SLUICE_ASSIGN(graph::CsvSchedule read, config::read_schedule(path));
  for (const std::string& note : read.notes) fmt::print(stderr, "sluice: note: {}\n", note);
  const graph::Placement& placement = read.schedule.placement;
  if (arguments.ranks != 0 && arguments.ranks != placement.ranks()) {
    return invalid_input("{} is of {} ranks; --ranks {} says otherwise, leave it out",
                         arguments.name, placement.ranks(), arguments.ranks);
  }
  if (arguments.micro_batches != 0 && arguments.micro_batches != placement.micro_batches()) {
    return invalid_input(
        "{} is of {} micro-batches; --micro-batches {} says otherwise, leave it out",
        arguments.name, placement.micro_batches(), arguments.micro_batches);
  }
  if (arguments.stages_per_rank != 0) {
    return invalid_input("{} says which stages a rank has; leave out --stages-per-rank",
                         arguments.name);
  }
  return std::move(read.schedule);
}

graph::ScheduleSize size_of(const graph::Schedule& schedule) {
  const graph::Placement& placement = schedule.placement;
  return {placement.ranks(), placement.micro_batches(),
          static_cast<std::int32_t>(placement.chunks(0).size())};
}

// The schedule of the table with these programs, or "".
std::string_view same_order(const graph::Schedule& schedule) {
  for (const std::string_view name : graph::schedule_names()) {
    const auto made = graph::make_schedule(name, size_of(schedule));
    if (made && made->placement == schedule.placement && made->programs == schedule.programs) {
      return name;
    }
  }
  return "";
}

Result<ScheduleView> make_view(const ScheduleArguments& arguments) {
  ScheduleView view;
  SLUICE_ASSIGN(view.times, parse_times(arguments.times, arguments.transfer));
  std::string_view known = arguments.name;
  if (is_in_table(arguments.name)) {
    if (arguments.ranks == 0 || arguments.micro_batches == 0) {
      return invalid_input(
          "{} needs a size; add --ranks and --micro-batches, such as --ranks 4 "
          "--micro-batches 8",
          arguments.name);
    }
    SLUICE_ASSIGN(view.schedule,
                  graph::make_schedule(arguments.name, {arguments.ranks, arguments.micro_batches,
                                                        arguments.stages_per_rank}));
  } else {
    SLUICE_ASSIGN(view.schedule, read_file(arguments));
    known = view.same_as = same_order(view.schedule);
  }
  view.published = graph::published(known, size_of(view.schedule), view.times);
  SLUICE_ASSIGN(view.timing, graph::time_schedule(view.schedule, view.times));
  return view;
}

Result<int> schedule(const ScheduleArguments& arguments) {
  SLUICE_ASSIGN(const ScheduleView view, make_view(arguments));
  if (arguments.json) return print(schedule_json(view));
  if (arguments.csv) return print(graph::to_csv(view.schedule));
  if (arguments.svg.empty()) return print(schedule_table(view, terminal_style()));
  if (arguments.svg == "-") return print(schedule_svg(view));
  SLUICE_TRY(store::write_text(arguments.svg, schedule_svg(view)));
  return print(summary_text(view) + fmt::format("drawn: {}\n", arguments.svg));
}

std::string footer() {
  std::string out = "Schedules:\n";
  for (const std::string_view name : graph::schedule_names()) {
    out += fmt::format("  {:18}{}\n", name, graph::schedule_about(name));
  }
  return out +
         "\nF is a forward pass, B a backward pass; I and W are its two halves, the gradient of "
         "the\n"
         "input and those of the weights; FB is an F and a B of different micro-batches, "
         "overlapped.\n"
         "dualpipe wants an even number of ranks; it and dualpipev want two micro-batches a rank.\n"
         "\nExamples:\n"
         "  sluice schedule dualpipe --ranks 8 --micro-batches 20\n"
         "  sluice schedule zb1p --ranks 4 --micro-batches 8 --times F=1,I=1,W=0.5 --json\n"
         "  sluice schedule 1f1b --ranks 4 --micro-batches 8 --csv > mine.csv; sluice schedule "
         "mine.csv\n"
         "  sluice schedule dualpipev --ranks 4 --micro-batches 10 --svg dualpipev.svg\n";
}

}  // namespace

void add_schedule(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<ScheduleArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand(
      "schedule", "Show a pipeline schedule: order, time, idle and activations of every rank");
  command
      ->add_option("name", arguments->name,
                   "a schedule below, or a CSV file as torch.distributed.pipelining writes it")
      ->required();
  command->add_option("--ranks", arguments->ranks, "pipeline ranks")->check(CLI::Range(1, 1 << 20));
  command->add_option("--micro-batches", arguments->micro_batches, "micro-batches of a step")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--stages-per-rank", arguments->stages_per_rank,
                   "of interleaved_1f1b; 2 where absent. The others hold 1 or 2")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--times", arguments->times,
                      "time of each kind of pass, F=1,B=2,I=1,W=1,FB=3 where absent. Of some alone "
                      "the others follow: B = I + W, FB = F + B");
  command->add_option("--transfer", arguments->transfer,
                      "time that activations and gradients take between ranks; 0 where absent");
  auto* json = command->add_flag("--json", arguments->json, "as JSON");
  auto* csv = command->add_flag("--csv", arguments->csv,
                                "as CSV that torch.distributed.pipelining and Sluice read");
  auto* svg =
      command->add_option("--svg", arguments->svg, "draw to this file (-: standard output)");
  json->excludes(csv, svg);
  csv->excludes(svg);
  command->footer(footer());
  command->callback([arguments, &run] { run = [arguments] { return schedule(*arguments); }; });
}

}  // namespace sluice
