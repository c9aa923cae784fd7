import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** Cumulative totals: events counted, and for each arm ("experiment/arm") how many units it was served to and their rewards' sum. */
record Totals(long events, Map<String, Arm> arms) {
  record Arm(long n, double sum) {
    Arm plus(Arm other) {
      return new Arm(n + other.n, sum + other.sum);
    }
  }

  private static final ObjectMapper JSON = new ObjectMapper();

  static final Serde<Totals> SERDE = Serdes.serdeFrom(
      (topic, totals) -> write(totals), (topic, bytes) -> read(bytes, Totals.class));
  static final Serde<Arm> ARM_SERDE = Serdes.serdeFrom(
      (topic, arm) -> write(arm), (topic, bytes) -> read(bytes, Arm.class));

  static Totals sum(Iterable<Totals> parts) {
    long events = 0;
    Map<String, Arm> arms = new HashMap<>();
    for (Totals part : parts) {
      events += part.events;
      part.arms.forEach((name, arm) -> arms.merge(name, arm, Arm::plus));
    }
    return new Totals(events, arms);
  }

  private static byte[] write(Object value) {
    try {
      return value == null ? null : JSON.writeValueAsBytes(value);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static <T> T read(byte[] bytes, Class<T> type) {
    try {
      return bytes == null ? null : JSON.readValue(bytes, type);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
