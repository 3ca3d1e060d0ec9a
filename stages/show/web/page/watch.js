// The live picture: JPEGs over a WebSocket, drawn as they come and answered, so that none wait on the way here.
import { after, at } from "./session.js";

export function watch(camera, canvas) {
  const pen = canvas.getContext("2d");
  let [socket, over] = [null, false];
  const draw = async (data) => {
    const picture = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      [canvas.width, canvas.height] = [picture.width, picture.height];
    }
    pen.drawImage(picture, 0, 0);
    picture.close();
  };
  const open = () => {
    const current = socket = new WebSocket(at(`/live/${encodeURIComponent(camera)}`));
    let drawn = Promise.resolve();
    current.onmessage = ({ data }) => {
      drawn = drawn.then(() => draw(data)).catch(() => {}).then(() => current.readyState === WebSocket.OPEN && current.send(""));
    };
    current.onclose = (closed) => { if (!over) setTimeout(() => over || open(), after(closed)); };
  };
  open();
  return () => { over = true; socket.close(); };
}
