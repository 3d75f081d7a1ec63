// A fault plan: a workload and what goes wrong while it runs (tests/simulation/*.toml).
//
// A plan says what may be; a seed says what is: which of the listed settings, how many frames are
// lost, which worker dies and when.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/result.hpp"
#include "kernels/base/visit_fields.hpp"

namespace sluice::config {

struct FaultPlan {
  struct Workload {
    std::string config;
    std::vector<std::string> layouts;
    std::vector<std::string> draws;

    template <class V>
    void visit_fields(V&& visit) {
      visit(field("config", config).doc("run config, beside the plan"));
      visit(field("layouts", layouts)
                .doc("each some settings, \"schedule.name=zbv topology.pipeline_parallel_size=2\"; "
                     "the seed takes one"));
      visit(
          field("draws", draws)
              .doc("each a key and its values, \"schedule.run_ahead = 0 | 1\"; the seed takes one "
                   "of every"));
    }
  };
  struct Link {
    std::int64_t delay_us_max = 50;
    double lost = 0;
    double duplicated = 0;
    double late = 0;
    std::int64_t late_us_max = 5000;

    template <class V>
    void visit_fields(V&& visit) {
      visit(field("delay_us_max", delay_us_max).range(1, 1e6).doc("of any message"));
      visit(field("lost", lost).range(0, 0.5).doc("share of the frames, at most"));
      visit(field("duplicated", duplicated).range(0, 1).doc("share of the frames, at most"));
      visit(
          field("late", late).range(0, 1).doc("share of the frames that others overtake, at most"));
      visit(field("late_us_max", late_us_max).range(0, 1e6).doc("by which they are late"));
    }
  };
  struct Device {
    std::int64_t task_us_max = 1000;
    std::int64_t slow_ranks = 0;
    double slow_factor_max = 1;

    template <class V>
    void visit_fields(V&& visit) {
      visit(field("task_us_max", task_us_max).range(1, 1e6).doc("of any task"));
      visit(field("slow_ranks", slow_ranks).range(0, 64).doc("that are slow for a while, at most"));
      visit(field("slow_factor_max", slow_factor_max).range(1, 1000).doc("of a task's time"));
    }
  };
  struct Worker {
    std::int64_t deaths = 0;
    std::int64_t dies_ms_max = 100;
    std::int64_t silence_ms_max = 1000;

    template <class V>
    void visit_fields(V&& visit) {
      visit(field("deaths", deaths).range(0, 16).doc("workers that die one after the other"));
      visit(field("dies_ms_max", dies_ms_max).range(0, 1e6).doc("after the start, at most"));
      visit(field("silence_ms_max", silence_ms_max)
                .range(1, 1e6)
                .doc("without a heartbeat until a worker counts as lost, at most"));
    }
  };
  struct Disk {
    bool full = false;
    std::int64_t calls_max = 200;

    template <class V>
    void visit_fields(V&& visit) {
      visit(field("full", full).doc("once, and empty again for the next start"));
      visit(field("calls_max", calls_max)
                .range(1, 1e6)
                .doc("calls that take space before it is full, at most"));
    }
  };

  std::string about;
  Workload workload;
  Link link;
  Device device;
  Worker worker;
  Disk disk;
  std::filesystem::path file;

  template <class V>
  void visit_sections(V&& visit) {
    visit("workload", workload);
    visit("link", link);
    visit("device", device);
    visit("worker", worker);
    visit("disk", disk);
  }
};

/// Errors say file:line and key, as those of a run config do.
[[nodiscard]] Result<FaultPlan> load_fault_plan(const std::filesystem::path& file);
[[nodiscard]] Result<FaultPlan> parse_fault_plan(std::string_view toml, std::string_view name);

/// The settings of the workload that a draw of numbers in [0, n) takes: `draw(n)` is called once
/// for the layouts and once for each of the draws.
template <class Draw>
[[nodiscard]] std::vector<std::string> draw_settings(const FaultPlan& plan, Draw&& draw);

/// "a=1 b=2" into its words; "key = x | y" into "key=x" and "key=y".
[[nodiscard]] std::vector<std::string> words_of(std::string_view layout);
[[nodiscard]] std::vector<std::string> settings_of(std::string_view draw);

template <class Draw>
std::vector<std::string> draw_settings(const FaultPlan& plan, Draw&& draw) {
  std::vector<std::string> sets;
  if (!plan.workload.layouts.empty())
    sets = words_of(plan.workload.layouts[draw(plan.workload.layouts.size())]);
  for (const std::string& choice : plan.workload.draws) {
    const std::vector<std::string> settings = settings_of(choice);
    sets.push_back(settings[draw(settings.size())]);
  }
  return sets;
}

}  // namespace sluice::config
