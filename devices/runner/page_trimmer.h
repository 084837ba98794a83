// Keeps mapped files from staying in memory while a delegate packs the weights in them.
//
// A delegate releases its weights only after it has packed all of them, so for a moment both forms would be resident
// and the peak would be twice the weights. Packing reads each page once: dropping the pages after every few
// milliseconds of work leaves little more than the packed form. A page that is still needed is mapped again from the
// page cache.
//
// A timer on the process's processor time measures the work, and its signal interrupts the packing itself: the peak
// does not depend on when a thread is scheduled.
#pragma once

#include <vector>

#include "mapped_file.h"

namespace runner {

class PageTrimmer {
 public:
  // Trims until it is destroyed, and once more then. There can be only one at a time.
  explicit PageTrimmer(const std::vector<const MappedFile*>& files);
  ~PageTrimmer();
  PageTrimmer(const PageTrimmer&) = delete;
  PageTrimmer& operator=(const PageTrimmer&) = delete;
};

}  // namespace runner
