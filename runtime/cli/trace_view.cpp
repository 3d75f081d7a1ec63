// Bars in a terminal, and the same numbers as JSON.
#include "runtime/cli/trace_view.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

namespace sluice {
namespace {

using nlohmann::ordered_json;
using trace::ChainLink;
using trace::Report;
using trace::Timeline;

constexpr std::size_t kRowsMax = 24;  // of a table; JSON and the page have all

double seconds(std::int64_t ns) { return static_cast<double>(ns) * 1e-9; }
double part(std::int64_t ns, std::int64_t of) {
  return of > 0 ? static_cast<double>(ns) / static_cast<double>(of) : 0;
}

std::string time_text(std::int64_t ns) {
  const double s = seconds(ns);
  if (s >= 1) return fmt::format("{:.2f} s", s);
  if (s >= 1e-3) return fmt::format("{:.2f} ms", s * 1e3);
  return fmt::format("{:.1f} us", s * 1e6);
}

std::string bytes_text(std::int64_t bytes) {
  const double b = static_cast<double>(bytes);
  if (b >= 1e9) return fmt::format("{:.2f} GB", b * 1e-9);
  if (b >= 1e6) return fmt::format("{:.2f} MB", b * 1e-6);
  return fmt::format("{:.2f} kB", b * 1e-3);
}

std::string channel_name(const Timeline& timeline, std::int32_t channel) {
  return timeline.recording.name(
      timeline.recording.channels[static_cast<std::size_t>(channel)].actor);
}

// "stage 0 -> stage 1: activation"
std::string short_name(const Timeline& timeline, std::int32_t channel) {
  std::string name = channel_name(timeline, channel);
  if (name.starts_with("channel ")) name.erase(0, 8);
  return name;
}

class Text {
 public:
  Text(const Timeline& timeline, const Report& report, TableStyle style)
      : timeline_(timeline), report_(report), style_(style) {
    for (const trace::ActorUse& use : report.actors) widen(timeline.recording.name(use.actor));
    for (const trace::ChannelUse& use : report.channels) widen(short_name(timeline, use.channel));
  }

  std::string write() {
    head();
    lanes();
    actors();
    channels();
    experts();
    chain();
    return std::move(out_);
  }

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  void widen(std::string_view name) {
    constexpr std::size_t kMax = 64;
    width_ = std::max(width_, std::min(name.size(), kMax));
  }

  // Shares from left to right, each in its shade; what is left of the bar stays free.
  [[nodiscard]] std::string bar(std::initializer_list<double> shares) const {
    constexpr int kWidth = 24;
    constexpr const char* kShades[] = {"█", "▒", "·"};
    constexpr const char* kColours[] = {"\x1b[38;5;71m", "\x1b[38;5;208m", "\x1b[38;5;245m"};
    std::string out;
    double sum = 0;
    int drawn = 0, kind = 0;
    for (const double share : shares) {
      sum += share;
      const int end = std::clamp(static_cast<int>(std::lround(sum * kWidth)), drawn, kWidth);
      if (style_.colours && end > drawn) out += kColours[kind];
      for (; drawn < end; ++drawn) out += kShades[kind];
      ++kind;
    }
    if (style_.colours) out += "\x1b[0m";
    return out + std::string(static_cast<std::size_t>(kWidth - drawn), ' ');
  }

  void more(std::size_t all) {
    if (all > kRowsMax) put("  and {} more (--json and --html have them)\n", all - kRowsMax);
  }

  void head() {
    const trace::Recording& recording = timeline_.recording;
    put("recorded {} with {}{}{}\n", recording.started, recording.kernel_set,
        recording.virtual_time ? ", in virtual time" : "",
        timeline_.closed ? "" : "; it was not closed");
    const auto count = static_cast<std::int64_t>(report_.steps.size());
    put("{} steps, {} a step; bubble {:.1f} %, communication {:.1f} % hidden, {} of tensors at "
        "most\n",
        count, time_text(report_.span_ns / std::max<std::int64_t>(count, 1)),
        100 * report_.bubble(timeline_), 100 * report_.hidden(),
        bytes_text(report_.memory_bytes_max));
    if (recording.ranks_share_lanes)
      put("all ranks ran on the lanes of one device: its bubble is not that of a rank\n");
  }

  void lanes() {
    put("\n{:<{}} {:<24}  busy █  exposed ▒  bubble ·\n", "lanes", width_ + 2, "");
    for (const trace::LaneUse& use : report_.lanes) {
      const trace::Timeline::Lane& lane = timeline_.lanes[static_cast<std::size_t>(use.lane)];
      const double busy = part(use.busy_ns, report_.span_ns);
      if (lane.kind != actors::Lane::kCompute) {  // nobody minds that it stands idle
        put("  {:<{}} {} {:5.1f} %\n", lane.name, width_, bar({busy}), 100 * busy);
        continue;
      }
      const double exposed = part(use.exposed_ns, report_.span_ns);
      const double bubble = part(use.bubble_ns, report_.span_ns);
      put("  {:<{}} {} {:5.1f} % {:8.1f} % {:7.1f} %\n", lane.name, width_,
          bar({busy, exposed, bubble}), 100 * busy, 100 * exposed, 100 * bubble);
    }
  }

  void actors() {
    put("\n{:<{}} {:<24}   busy    tasks\n", "actors", width_ + 2, "");
    for (std::size_t i = 0; i < std::min(report_.actors.size(), kRowsMax); ++i) {
      const trace::ActorUse& use = report_.actors[i];
      const double busy = part(use.busy_ns, report_.span_ns);
      put("  {:<{}} {} {:5.1f} % {:8}\n", timeline_.recording.name(use.actor), width_, bar({busy}),
          100 * busy, use.tasks);
    }
    more(report_.actors.size());
  }

  void channels() {
    put("\n{:<{}} {:<24}  hidden █   exposed ▒  messages       size  credits used\n", "channels",
        width_ + 2, "");
    std::vector<trace::ChannelUse> uses = report_.channels;
    std::stable_sort(uses.begin(), uses.end(), [](const auto& a, const auto& b) {
      return std::pair(a.exposed_ns, a.hidden_ns) > std::pair(b.exposed_ns, b.hidden_ns);
    });
    for (std::size_t i = 0; i < std::min(uses.size(), kRowsMax); ++i) {
      const trace::ChannelUse& use = uses[i];
      const auto& channel = timeline_.recording.channels[static_cast<std::size_t>(use.channel)];
      const std::int64_t on_way = use.hidden_ns + use.exposed_ns;
      put("  {:<{}} {} {:>9} {:>11} {:9} {:>10}  {} of {}\n", short_name(timeline_, use.channel),
          width_, bar({part(use.hidden_ns, on_way), part(use.exposed_ns, on_way)}),
          time_text(use.hidden_ns), time_text(use.exposed_ns), use.messages, bytes_text(use.bytes),
          use.credits_max, channel.credits);
    }
    more(uses.size());
  }

  void experts() {
    if (report_.experts.empty()) return;
    put("\n{:<{}} most over mean   load of each expert\n", "experts", width_ + 2);
    constexpr const char* kLevels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    constexpr std::size_t kExpertsMax = 64;
    for (const trace::ExpertUse& use : report_.experts) {
      const auto most = *std::max_element(use.loads.begin(), use.loads.end());
      std::string line;
      for (std::size_t e = 0; e < std::min(use.loads.size(), kExpertsMax); ++e) {
        const double share = most > 0 ? part(use.loads[e], most) : 0;
        line += kLevels[static_cast<std::size_t>(std::lround(share * 7))];
      }
      put("  {:<{}} {:14.2f}   {}{}\n", fmt::format("layer {}", use.layer), width_, use.imbalance(),
          line, use.loads.size() > kExpertsMax ? " ..." : "");
    }
  }

  void chain() {
    const std::vector<trace::ChainSum> sums = sum_chain(timeline_, report_);
    const trace::StepSpan& step = timeline_.steps[static_cast<std::size_t>(report_.shown)];
    const std::int64_t length = step.ended_ns - step.began_ns;
    put("\nlongest chain of waits, {}: {} links, {}\n", step_name(timeline_, report_.shown),
        report_.chain.size(), time_text(length));
    for (std::size_t i = 0; i < std::min(sums.size(), kRowsMax); ++i) {
      const double share = part(sums[i].ns, length);
      put("  {:<{}} {} {:5.1f} % {:>10}  {} times\n", sums[i].what, width_, bar({share}),
          100 * share, time_text(sums[i].ns), sums[i].count);
    }
    more(sums.size());
  }

  const Timeline& timeline_;
  const Report& report_;
  TableStyle style_;
  std::size_t width_ = 36;  // of names
  std::string out_;
};

std::string link_text(const Timeline& timeline, const ChainLink& link) {
  if (link.kind == ChainLink::Kind::kTask)
    return std::string(timeline.tasks[static_cast<std::size_t>(link.index)].name);
  if (link.kind == ChainLink::Kind::kFlight)
    return to_string(timeline.messages[static_cast<std::size_t>(link.index)].head);
  return std::string(name_of(link.kind));
}

ordered_json chain_json(const Timeline& timeline, const Report& report) {
  const trace::StepSpan& step = timeline.steps[static_cast<std::size_t>(report.shown)];
  ordered_json sums = ordered_json::array(), links = ordered_json::array();
  for (const trace::ChainSum& sum : sum_chain(timeline, report))
    sums.push_back({{"what", sum.what}, {"count", sum.count}, {"seconds", seconds(sum.ns)}});
  for (const ChainLink& link : report.chain) {
    links.push_back({{"kind", name_of(link.kind)},
                     {"what", link_text(timeline, link)},
                     {"actor", timeline.recording.name(link.actor)},
                     {"began_s", seconds(link.began_ns - step.began_ns)},
                     {"seconds", seconds(link.ended_ns - link.began_ns)}});
  }
  return {{"step", step_name(timeline, report.shown)},
          {"seconds", seconds(step.ended_ns - step.began_ns)},
          {"sums", std::move(sums)},
          {"links", std::move(links)}};
}

ordered_json channels_json(const Timeline& timeline, const Report& report) {
  ordered_json out = ordered_json::array();
  for (const trace::ChannelUse& use : report.channels) {
    const auto& channel = timeline.recording.channels[static_cast<std::size_t>(use.channel)];
    out.push_back({{"name", channel_name(timeline, use.channel)},
                   {"role", graph::name_of(channel.role)},
                   {"messages", use.messages},
                   {"bytes", use.bytes},
                   {"hidden_s", seconds(use.hidden_ns)},
                   {"exposed_s", seconds(use.exposed_ns)},
                   {"credits", channel.credits},
                   {"credits_used_max", use.credits_max}});
  }
  return out;
}

}  // namespace

std::string step_name(const Timeline& timeline, std::int32_t step) {
  const actors::StepStart& start = timeline.steps[static_cast<std::size_t>(step)].start;
  const std::string note = timeline.notes.of(start.step);
  return note.empty() ? fmt::format("step {}", start.step) : note;
}

std::string report_text(const Timeline& timeline, const Report& report, TableStyle style) {
  return Text(timeline, report, style).write();
}

std::string report_json(const Timeline& timeline, const Report& report) {
  ordered_json steps = ordered_json::array(), lanes = steps, actors = steps, experts = steps;
  for (const trace::StepUse& use : report.steps) {
    steps.push_back({{"name", step_name(timeline, use.step)},
                     {"seconds", seconds(use.ns)},
                     {"bubble", use.bubble}});
  }
  for (const trace::LaneUse& use : report.lanes) {
    const Timeline::Lane& lane = timeline.lanes[static_cast<std::size_t>(use.lane)];
    lanes.push_back({{"name", lane.name},
                     {"computes", lane.kind == actors::Lane::kCompute},
                     {"busy", part(use.busy_ns, report.span_ns)},
                     {"exposed", part(use.exposed_ns, report.span_ns)},
                     {"bubble", part(use.bubble_ns, report.span_ns)}});
  }
  for (const trace::ActorUse& use : report.actors) {
    actors.push_back({{"name", timeline.recording.name(use.actor)},
                      {"lane", timeline.lanes[static_cast<std::size_t>(use.lane)].name},
                      {"tasks", use.tasks},
                      {"busy", part(use.busy_ns, report.span_ns)}});
  }
  for (const trace::ExpertUse& use : report.experts) {
    experts.push_back(
        {{"layer", use.layer}, {"most_over_mean", use.imbalance()}, {"loads", use.loads}});
  }
  const ordered_json out = {{"recorded", timeline.recording.started},
                            {"kernels", timeline.recording.kernel_set},
                            {"closed", timeline.closed},
                            {"virtual_time", timeline.recording.virtual_time},
                            {"ranks_share_lanes", timeline.recording.ranks_share_lanes},
                            {"seconds", seconds(report.span_ns)},
                            {"busy", report.busy(timeline)},
                            {"exposed", report.exposed(timeline)},
                            {"bubble", report.bubble(timeline)},
                            {"hidden", report.hidden()},
                            {"memory_bytes_max", report.memory_bytes_max},
                            {"steps", std::move(steps)},
                            {"lanes", std::move(lanes)},
                            {"actors", std::move(actors)},
                            {"channels", channels_json(timeline, report)},
                            {"experts", std::move(experts)},
                            {"chain", chain_json(timeline, report)}};
  return out.dump(1);
}

}  // namespace sluice
