// Keeps mapped files from staying in memory while a delegate packs the weights in them.
//
// A delegate gives its weights back only after it has packed all of them, so for a moment both forms would be resident
// and the peak twice the weights. Packing reads each page once: dropping the pages after every few milliseconds of work
// leaves little more than the packed form. A page that is still needed is mapped again from the page cache.
//
// The work is measured by a timer on the process's processor time, whose signal interrupts the packing itself: how much
// is resident at most does not depend on when a thread gets its turn.
#pragma once

#include <vector>

#include "mapped_file.h"

namespace runner {

class PageTrimmer {
 public:
  // Trims until it is destroyed, and once more then. One at a time.
  explicit PageTrimmer(const std::vector<const MappedFile*>& files);
  ~PageTrimmer();
  PageTrimmer(const PageTrimmer&) = delete;
  PageTrimmer& operator=(const PageTrimmer&) = delete;
};

}  // namespace runner
