import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;

/** How far the job is, over all partitions. One thread processes them all, so nothing here is shared between threads. */
final class Progress {
  private final long events;
  private long processed;

  /** `events` is how many there are. */
  Progress(long events) {
    this.events = events;
  }

  /** An event is about to be processed. The first one is told: when it was, and the CPU seconds used until then. */
  void begin() {
    if (processed++ == 0) {
      var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
      double cpu = system.getProcessCpuTime() / 1e9;
      System.out.println("{\"first_event_at\": " + System.currentTimeMillis() / 1e3 + ", \"cpu_s\": " + cpu + "}");
    }
  }

  boolean over() {
    return processed >= events;
  }
}
