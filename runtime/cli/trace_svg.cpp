// The shown step of a recording as a picture, in the colours of `sluice schedule --svg`.
#include <algorithm>
#include <array>
#include <iterator>
#include <map>

#include "runtime/cli/trace_view.hpp"

namespace sluice {
namespace {

using trace::TaskSpan;
using trace::Work;

constexpr double kWidth = 1400;  // of the rows
constexpr double kRowHeight = 26;
constexpr double kRowGap = 4;
constexpr double kTop = 62;
constexpr double kLetter = 6.6;
constexpr std::array<std::string_view, 4> kFills{"#f6c667", "#5fb3bf", "#7f9bd1", "#c9c9c9"};
constexpr std::array<std::string_view, 4> kNames{"forward", "backward for the input",
                                                 "backward for the weights", "other"};

// Tasks of one actor, work and micro-batch that follow each other closely.
struct Box {
  std::int64_t began_ns = 0;
  std::int64_t ended_ns = 0;
  Work work = Work::kOther;
  std::int32_t micro_batch = 0;
};

class Drawing {
 public:
  Drawing(const trace::Timeline& timeline, const trace::Report& report)
      : timeline_(timeline),
        step_(timeline.steps[static_cast<std::size_t>(report.shown)]),
        title_(step_name(timeline, report.shown)) {
    per_ns_ = kWidth / static_cast<double>(std::max<std::int64_t>(length_ns(), 1));
    gather();
    std::size_t label = 0;
    for (const auto& [actor, boxes] : rows_)
      label = std::max(label, timeline.recording.name(actor).size());
    left_ = 20 + kLetter * static_cast<double>(label);
  }

  std::string draw() {
    const double height = kTop + static_cast<double>(rows_.size()) * (kRowHeight + kRowGap) + 12;
    put(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0f}" height="{1:.0f}" )"
        R"(viewBox="0 0 {0:.0f} {1:.0f}" font-family="ui-monospace, monospace" font-size="11">)"
        "\n",
        left_ + kWidth + 12, height);
    put(R"(<rect width="100%" height="100%" fill="#ffffff"/>)"
        "\n");
    put(R"(<text x="10" y="20" font-size="14" fill="#222222">{}, recorded {}: {:.2f} ms</text>)"
        "\n",
        title_, timeline_.recording.started, static_cast<double>(length_ns()) * 1e-6);
    legend();
    double top = kTop;
    for (const auto& [actor, boxes] : rows_) {
      row(timeline_.recording.name(actor), boxes, top);
      top += kRowHeight + kRowGap;
    }
    put("</svg>\n");
    return std::move(out_);
  }

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }
  [[nodiscard]] std::int64_t length_ns() const { return step_.ended_ns - step_.began_ns; }

  void gather() {
    std::map<graph::ActorIndex, std::vector<const TaskSpan*>> tasks;
    for (const TaskSpan& task : timeline_.tasks) {
      if (task.times.started_ns < step_.began_ns || task.times.ended_ns > step_.ended_ns) continue;
      const bool computes =
          timeline_.lanes[static_cast<std::size_t>(task.lane)].kind == actors::Lane::kCompute;
      if (computes) tasks[task.actor].push_back(&task);
    }
    const std::int64_t close_ns = length_ns() / 2000;
    for (auto& [actor, list] : tasks) {
      std::sort(list.begin(), list.end(), [](const TaskSpan* a, const TaskSpan* b) {
        return a->times.started_ns < b->times.started_ns;
      });
      std::vector<Box>& boxes = rows_[actor];
      for (const TaskSpan* task : list) {
        const Work work = trace::work_of(task->name);
        const bool goes_on = !boxes.empty() && boxes.back().work == work &&
                             boxes.back().micro_batch == task->key.micro_batch &&
                             task->times.started_ns - boxes.back().ended_ns <= close_ns;
        if (!goes_on) boxes.push_back({task->times.started_ns, 0, work, task->key.micro_batch});
        boxes.back().ended_ns = task->times.ended_ns;
      }
    }
  }

  void legend() {
    double x = 10;
    for (std::size_t w = 0; w < kNames.size(); ++w) {
      put(R"(<rect x="{:.1f}" y="32" width="12" height="12" fill="{}"/>)", x, kFills[w]);
      put(R"(<text x="{:.1f}" y="42" fill="#444444">{}</text>)"
          "\n",
          x + 17, kNames[w]);
      x += 34 + kLetter * static_cast<double>(kNames[w].size());
    }
    put(R"(<text x="{:.1f}" y="42" fill="#444444">numbers are micro-batches</text>)"
        "\n",
        x);
  }

  void row(const std::string& name, const std::vector<Box>& boxes, double top) {
    put(R"(<text x="10" y="{:.1f}" fill="#222222">{}</text>)"
        "\n",
        top + 17, name);
    put(R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="#f3f3f3"/>)"
        "\n",
        left_, top, kWidth, kRowHeight);
    for (const Box& box : boxes) {
      const double x = left_ + static_cast<double>(box.began_ns - step_.began_ns) * per_ns_;
      const double width = static_cast<double>(box.ended_ns - box.began_ns) * per_ns_;
      put(R"(<rect x="{:.2f}" y="{:.1f}" width="{:.2f}" height="{:.1f}" fill="{}"/>)"
          "\n",
          x, top, std::max(width, 0.4), kRowHeight, kFills[static_cast<std::size_t>(box.work)]);
      const std::string label = fmt::to_string(box.micro_batch);
      if (box.work == Work::kOther || width < kLetter * static_cast<double>(label.size()) + 3)
        continue;
      put(R"(<text x="{:.2f}" y="{:.1f}" text-anchor="middle" fill="#222222">{}</text>)"
          "\n",
          x + width / 2, top + 17, label);
    }
  }

  const trace::Timeline& timeline_;
  const trace::StepSpan& step_;
  std::string title_;
  std::map<graph::ActorIndex, std::vector<Box>> rows_;
  double per_ns_ = 0;
  double left_ = 0;
  std::string out_;
};

}  // namespace

std::string report_svg(const trace::Timeline& timeline, const trace::Report& report) {
  return Drawing(timeline, report).draw();
}

}  // namespace sluice
