// The page of a report: its JSON, and the tasks of the step that it shows.
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/cli/trace_view.hpp"

namespace sluice {
namespace {

using nlohmann::ordered_json;

// Rows by actor, in the order of the plan; a task is [start, length (microseconds), work,
// micro-batch, layer, name].
ordered_json picture(const trace::Timeline& timeline, const trace::Report& report) {
  const trace::StepSpan& step = timeline.steps[static_cast<std::size_t>(report.shown)];
  std::map<graph::ActorIndex, ordered_json> rows;
  for (const trace::TaskSpan& task : timeline.tasks) {
    const host::TaskTimes& times = task.times;
    if (times.started_ns < step.began_ns || times.ended_ns > step.ended_ns) continue;
    const auto us = [](std::int64_t ns) { return static_cast<double>(ns) * 1e-3; };
    rows[task.actor].push_back({us(times.started_ns - step.began_ns),
                                us(times.ended_ns - times.started_ns),
                                static_cast<int>(trace::work_of(task.name)), task.key.micro_batch,
                                task.key.layer, task.name});
  }
  ordered_json out = ordered_json::array();
  for (auto& [actor, tasks] : rows)
    out.push_back({{"name", timeline.recording.name(actor)}, {"tasks", std::move(tasks)}});
  return out;
}

// A text of a recording that closes the script would end the page's data.
std::string in_script(std::string json) {
  for (std::size_t at = json.find("</"); at != json.npos; at = json.find("</", at + 3))
    json.insert(at + 1, "\\");
  return json;
}

}  // namespace

std::string report_page(const trace::Timeline& timeline, const trace::Report& report) {
  ordered_json data = ordered_json::parse(report_json(timeline, report));
  data["picture"] = picture(timeline, report);
  std::string page(kTracePage);
  const std::size_t at = page.find(kTracePageData);
  SLUICE_CHECK(at != page.npos, "the page has no place for its data");
  return page.replace(at, kTracePageData.size(), in_script(data.dump()));
}

}  // namespace sluice
