#pragma once

/// The report of a run as one HTML file that needs nothing else.

#include "droidflow/pipeline/report_data.h"

#include <string>
#include <string_view>

namespace droidflow {

/// Text as HTML shows it, also in an attribute in double quotes.
[[nodiscard]] std::string EscapeHtml(std::string_view text);

/// JSON as it may stand in a <script>: the same values, without '<'.
[[nodiscard]] std::string EscapeJsonForScript(std::string_view json);

/// The same data gives the same bytes.
[[nodiscard]] std::string FormatReportPage(const ReportData& data);

}  // namespace droidflow
