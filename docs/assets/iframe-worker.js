// Browsers start no Worker for a page that is opened from a disk. There, the search runs in a hidden frame.
// Its name tells the theme's plugin `offline` that it need not load such a script from another host.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const scope = this.frame.contentWindow;
      // Without this, Firefox replaces the empty document later, and with it all that was set here.
      scope.document.open();
      scope.document.close();
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.loaded = new Promise((resolve, reject) => {
        const script = scope.document.createElement("script");
        Object.assign(script, { src: url, onload: () => resolve(scope), onerror: reject });
        scope.document.documentElement.append(script);
      });
    }

    async postMessage(data) {
      const scope = await this.loaded;
      scope.dispatchEvent(new scope.MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
