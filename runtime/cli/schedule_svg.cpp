// A schedule as a picture: a lane a rank, a box a pass, pairs one above the other.
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "runtime/cli/schedule_view.hpp"

namespace sluice {
namespace {

using graph::Pass;
using graph::PassKind;
using graph::Ticks;

constexpr double kLaneHeight = 34;
constexpr double kLaneGap = 4;
constexpr double kTop = 84;  // title, times, legend
constexpr double kAxisHeight = 22;
constexpr double kBoxMin = 21;  // width of the shortest pass
constexpr double kWidthMax = 12000;
constexpr double kRight = 128;  // idle and activations of a rank

struct Look {
  std::string_view name;
  std::array<std::string_view, 2> fill;  // of even and odd chunks
};
constexpr std::array<Look, 4> kLooks{{{"forward", {"#f6c667", "#fbe3b1"}},
                                      {"backward", {"#6fae76", "#b4d8b2"}},
                                      {"backward for the input", {"#5fb3bf", "#b3dfe3"}},
                                      {"backward for the weights", {"#7f9bd1", "#c2d0ec"}}}};

std::string_view fill_of(const Pass& pass) {
  return kLooks[static_cast<std::size_t>(pass.kind)].fill[static_cast<std::size_t>(pass.chunk % 2)];
}

class Drawing {
 public:
  explicit Drawing(const ScheduleView& view) : view_(view) {
    const double shortest = static_cast<double>(shortest_pass());
    const double makespan = static_cast<double>(std::max<Ticks>(view.timing.makespan, 1));
    per_tick_ = std::min(kBoxMin / shortest, kWidthMax / makespan);
    std::size_t label = 0;
    for (std::int32_t r = 0; r < ranks(); ++r) label = std::max(label, lane_label(r).size());
    left_ = 24 + 6.6 * static_cast<double>(label);
    lanes_width_ = makespan * per_tick_;
    width_ = std::max(left_ + lanes_width_ + kRight, 760.0);
    lanes_bottom_ = kTop + kAxisHeight + ranks() * (kLaneHeight + kLaneGap);
  }

  std::string draw() {
    begin();
    legend();
    axis();
    for (std::int32_t r = 0; r < ranks(); ++r) lane(r);
    end();
    return std::move(out_);
  }

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }
  [[nodiscard]] std::int32_t ranks() const { return view_.schedule.placement.ranks(); }
  [[nodiscard]] double x(Ticks time) const { return left_ + static_cast<double>(time) * per_tick_; }
  [[nodiscard]] static double lane_top(std::int32_t rank) {
    return kTop + kAxisHeight + rank * (kLaneHeight + kLaneGap);
  }

  [[nodiscard]] std::string lane_label(std::int32_t rank) const {
    const bool several = view_.schedule.placement.chunks(rank).size() > 1;
    return fmt::format("rank {} · stage{} {}", rank, several ? "s" : "", stages_text(view_, rank));
  }

  [[nodiscard]] Ticks shortest_pass() const {
    Ticks shortest = 0;
    for (const graph::Program& program : view_.schedule.programs) {
      for (const graph::Action& action : program) {
        const Ticks time = view_.times.of(action);
        if (time > 0 && (shortest == 0 || time < shortest)) shortest = time;
      }
    }
    return std::max<Ticks>(shortest, 1);
  }

  static std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
      out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
    }
    return out;
  }

  void begin() {
    const double height = lanes_bottom_ + 74;
    put("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "width=\"{0:.0f}\" "
        "height=\"{1:.0f}\" font-family=\"system-ui, 'Helvetica Neue', Arial, sans-serif\" "
        "font-size=\"12\" fill=\"#222\">\n",
        width_, height);
    put("<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        escaped(title_text(view_)));
    put("<text x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"600\">{}</text>\n",
        escaped(title_text(view_)));
    put("<text x=\"16\" y=\"48\" fill=\"#666\">times: {}; numbers are micro-batches</text>\n",
        times_text(view_));
  }

  void legend() {
    std::array<std::array<bool, 2>, 4> used{};
    for (const graph::Program& program : view_.schedule.programs) {
      for (const graph::Action& action : program) {
        for (const Pass& pass : action.passes()) {
          used[static_cast<std::size_t>(pass.kind)][static_cast<std::size_t>(pass.chunk % 2)] =
              true;
        }
      }
    }
    double at = 16;
    bool odd = false;
    for (std::size_t k = 0; k < used.size(); ++k) {
      if (!used[k][0] && !used[k][1]) continue;
      odd = odd || used[k][1];
      put("<rect x=\"{:.1f}\" y=\"60\" width=\"14\" height=\"13\" rx=\"2\" fill=\"{}\"/>", at,
          kLooks[k].fill[0]);
      if (odd) {
        put("<rect x=\"{:.1f}\" y=\"60\" width=\"14\" height=\"13\" rx=\"2\" fill=\"{}\"/>",
            at + 15, kLooks[k].fill[1]);
      }
      put("<text x=\"{:.1f}\" y=\"71\">{}</text>\n", at + (odd ? 34 : 19), kLooks[k].name);
      at += (odd ? 52 : 37) + 6.4 * static_cast<double>(kLooks[k].name.size());
    }
    if (odd) put("<text x=\"{:.1f}\" y=\"71\" fill=\"#666\">{}</text>\n", at, shades_text());
  }

  [[nodiscard]] std::string_view shades_text() const {
    if (view_.schedule.placement.routes().size() > 1) return "dark: way down, light: way up";
    return view_.schedule.placement.chunks(0).size() == 2
               ? "dark: first stage of a rank, light: second"
               : "dark and light: stages of a rank in turn";
  }

  // Lines at round times, some 60 pixels apart.
  void axis() {
    const double wanted = 60 / per_tick_ / static_cast<double>(kTicksPerUnit);
    double step = std::pow(10, std::floor(std::log10(wanted)));
    if (step < wanted) step *= wanted / step > 5 ? 10 : wanted / step > 2 ? 5 : 2;
    const auto ticks =
        std::max<Ticks>(static_cast<Ticks>(step * static_cast<double>(kTicksPerUnit)), 1);
    for (Ticks t = 0; t <= view_.timing.makespan; t += ticks) {
      put("<path d=\"M{:.1f} {}V{:.1f}\" stroke=\"#e4e4e4\"/><text x=\"{:.1f}\" y=\"{}\" "
          "text-anchor=\"middle\" font-size=\"10.5\" fill=\"#777\">{}</text>\n",
          x(t), kTop + 18, lanes_bottom_, x(t), kTop + 13, units_text(t));
    }
    put("<text x=\"{:.1f}\" y=\"{}\" font-size=\"10.5\" fill=\"#777\">idle</text><text "
        "x=\"{:.1f}\" "
        "y=\"{}\" font-size=\"10.5\" fill=\"#777\">live at most</text>\n",
        left_ + lanes_width_ + 14, kTop + 13, left_ + lanes_width_ + 56, kTop + 13);
  }

  void lane(std::int32_t rank) {
    const double top = lane_top(rank);
    const double middle = top + kLaneHeight / 2 + 4;
    const auto r = static_cast<std::size_t>(rank);
    const graph::RankTiming& timing = view_.timing.ranks[r];
    put("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", left_ - 10, middle,
        lane_label(rank));
    put("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" fill=\"#f3f3f3\"/>\n",
        left_, top, lanes_width_, kLaneHeight);
    const graph::Program& program = view_.schedule.programs[r];
    for (std::size_t i = 0; i < program.size(); ++i) action(program[i], timing.actions[i], top);
    put("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        left_ + lanes_width_ + 14, middle, units_text(timing.idle), left_ + lanes_width_ + 56,
        middle, timing.peak_live_activations);
  }

  // The passes of an action share its box, one above the other.
  void action(const graph::Action& action, graph::Span span, double top) {
    const double height = kLaneHeight / static_cast<double>(action.passes().size());
    const double width = static_cast<double>(span.end - span.start) * per_tick_;
    if (width <= 0) return;
    for (const Pass& pass : action.passes()) {
      put("<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\" fill=\"{}\" "
          "stroke=\"#fff\" stroke-width=\"{}\"/>",
          x(span.start), top, width, height, fill_of(pass), width < 6 ? 0.3 : 1.0);
      const std::string number = fmt::format("{}", pass.micro_batch);
      if (width > 4 + 6.5 * static_cast<double>(number.size())) {
        put("<text x=\"{:.2f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
            x(span.start) + width / 2, top + height / 2 + 4, number);
      }
      top += height;
    }
    out_ += '\n';
  }

  void end() {
    double at = lanes_bottom_ + 22;
    const std::string text = summary_text(view_);
    for (std::size_t first = 0; first < text.size();) {
      const std::size_t last = text.find('\n', first);
      const std::string line = text.substr(first, last - first);
      put("<text x=\"16\" y=\"{:.1f}\">{}</text><text x=\"128\" y=\"{:.1f}\">{}</text>\n", at,
          escaped(line.substr(0, line.find("  "))), at,
          escaped(line.substr(line.find_first_not_of(' ', line.find("  ")))));
      at += 17;
      first = last + 1;
    }
    out_ += "</svg>\n";
  }

  const ScheduleView& view_;
  std::string out_;
  double per_tick_ = 1;
  double left_ = 0;
  double lanes_width_ = 0;
  double width_ = 0;
  double lanes_bottom_ = 0;
};

}  // namespace

std::string schedule_svg(const ScheduleView& view) { return Drawing(view).draw(); }

}  // namespace sluice
