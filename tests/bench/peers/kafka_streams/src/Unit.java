import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** What is kept of a unit: its arm in each experiment, the ids of its rewards, and the rewards that wait for an exposure. */
final class Unit {
  record Served(String experiment, String arm) {}

  record Waiting(String experiment, double value) {}

  private static final int BYTES_MAX = 1 << 20;

  static final Serde<Unit> SERDE = Serdes.serdeFrom(
      (topic, unit) -> unit == null ? null : unit.toBytes(),
      (topic, bytes) -> bytes == null ? null : fromBytes(ByteBuffer.wrap(bytes)));

  final List<Served> served = new ArrayList<>(1);
  final List<String> rewardIds = new ArrayList<>(1);
  final List<Waiting> waiting = new ArrayList<>(0);

  /** The arm the unit was served in an experiment; null before its exposure. */
  String armIn(String experiment) {
    for (Served one : served) {
      if (one.experiment.equals(experiment)) {
        return one.arm;
      }
    }
    return null;
  }

  // A buffer for the thread, or every record would begin with a megabyte.
  private static final ThreadLocal<ByteBuffer> SCRATCH = ThreadLocal.withInitial(() -> ByteBuffer.allocate(BYTES_MAX));

  private byte[] toBytes() {
    ByteBuffer to = SCRATCH.get().clear();
    to.putShort((short) served.size());
    for (Served one : served) {
      putText(to, one.experiment);
      putText(to, one.arm);
    }
    to.putShort((short) rewardIds.size());
    for (String id : rewardIds) {
      putText(to, id);
    }
    to.putShort((short) waiting.size());
    for (Waiting one : waiting) {
      putText(to, one.experiment);
      to.putDouble(one.value);
    }
    return Arrays.copyOf(to.array(), to.position());
  }

  private static Unit fromBytes(ByteBuffer from) {
    Unit unit = new Unit();
    for (int left = from.getShort(); left > 0; left--) {
      unit.served.add(new Served(getText(from), getText(from)));
    }
    for (int left = from.getShort(); left > 0; left--) {
      unit.rewardIds.add(getText(from));
    }
    for (int left = from.getShort(); left > 0; left--) {
      unit.waiting.add(new Waiting(getText(from), from.getDouble()));
    }
    return unit;
  }

  private static void putText(ByteBuffer to, String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    to.putShort((short) bytes.length).put(bytes);
  }

  private static String getText(ByteBuffer from) {
    int length = from.getShort();
    String text = new String(from.array(), from.position(), length, StandardCharsets.UTF_8);
    from.position(from.position() + length);
    return text;
  }
}
