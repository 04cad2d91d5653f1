import com.android.apksig.ApkSigner;
import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.util.List;

/** Signs and aligns an APK with a debug key: {@code java Sign.java IN OUT KEYSTORE MIN_SDK}. */
public final class Sign {
    private Sign() {}

    public static void main(String[] arguments) throws Exception {
        KeyStore keys = KeyStore.getInstance("PKCS12");
        char[] password = "android".toCharArray(); // a debug key guards nothing
        try (InputStream in = new FileInputStream(arguments[2])) {
            keys.load(in, password);
        }
        ApkSigner.SignerConfig signer =
                new ApkSigner.SignerConfig.Builder(
                                "debug",
                                (PrivateKey) keys.getKey("debug", password),
                                List.of((X509Certificate) keys.getCertificate("debug")))
                        .build();
        new ApkSigner.Builder(List.of(signer))
                .setInputApk(new File(arguments[0]))
                .setOutputApk(new File(arguments[1]))
                .setMinSdkVersion(Integer.parseInt(arguments[3]))
                .setV1SigningEnabled(false) // version 2 is enough from API level 24 on
                .setV2SigningEnabled(true)
                .setV3SigningEnabled(true)
                .setAlignmentPreserved(false) // libraries to 16384 bytes, the rest to 4
                .build()
                .sign();
    }
}
