import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** An exposure, or a reward: that has no arm. `id` is the exposure's or the reward's. */
record Event(String id, String experiment, String arm, double value) {
  private static final JsonFactory JSON = new JsonFactory();

  static final Serde<Event> SERDE = Serdes.serdeFrom(
      (topic, event) -> { throw new UnsupportedOperationException("events are only read"); },
      (topic, bytes) -> parse(bytes));

  boolean isReward() {
    return arm == null;
  }

  /** The whole record is tokenised, not just what is before the last wanted field. */
  private static Event parse(byte[] bytes) {
    String id = null, experiment = null, arm = null;
    double value = 0;
    try (JsonParser json = JSON.createParser(bytes)) {
      json.nextToken();
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String field = json.currentName();
        json.nextToken();
        switch (field) {
          case "exposure_id", "reward_id" -> id = json.getText();
          case "experiment" -> experiment = json.getText();
          case "arm" -> arm = json.getText();
          case "value" -> value = json.getDoubleValue();
          default -> json.skipChildren();
        }
      }
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return new Event(id, experiment, arm, value);
  }
}
